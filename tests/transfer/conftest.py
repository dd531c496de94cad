"""What the tests of training share."""

from eyespot.transfer import Examples


def some(examples, number):
    """The first of them."""
    return Examples(examples.images[:number], examples.labels[:number])
