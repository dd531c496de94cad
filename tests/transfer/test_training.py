"""The loop on pictures that a network of a few weights can tell apart."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from eyespot.transfer import (
    DivergedError,
    Examples,
    ExamplesError,
    SettingsError,
    accuracy,
    predict,
    train,
)


class Brightness(nn.Module):
    """Logits that are linear in a picture's two pixels: W x + b."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, image):
        return self.linear(image.to(torch.float32).flatten(1) / 255)


class Dropping(nn.Module):
    """Draws from torch's own generator while it is trained."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, image):
        return self.linear(self.dropout(image.to(torch.float32).flatten(1)))


@pytest.fixture
def left_and_right():
    """Class 0 is bright on the left, class 1 on the right: separable by the sign of x0 - x1."""
    left = np.array([[[255], [0]]], np.uint8)  # (1, 2, 1)
    images = np.stack([left, left[:, ::-1]] * 20)
    return Examples(images, np.array([0, 1] * 20))


def test_a_separable_set_is_learnt(left_and_right):
    module = Brightness()
    assert accuracy(module.eval(), left_and_right) == 0.5  # all zero: argmax is class 0
    result = train(module, left_and_right, epochs=5, batch_size=4, learning_rate=0.1)
    assert accuracy(module, left_and_right) == 1.0
    assert result.epochs == 5
    assert result.losses[-1] < result.losses[0] < math.log(2)


def test_the_first_loss_is_that_of_a_coin(left_and_right):
    # One batch: the loss is measured before the first step, at logits (0, 0): ln 2.
    result = train(Brightness(), left_and_right, epochs=1, batch_size=40, learning_rate=0.1)
    assert result.losses == pytest.approx([math.log(2)])
    assert [report.accuracy for report in result.reports] == [0.5]


def test_the_mean_weighs_a_short_last_batch_by_its_rows():
    # 3 examples in batches of 2 and 1; the criterion tells the batch's size: (2*2 + 1*1) / 3.
    examples = Examples(np.zeros((3, 1, 2, 1), np.uint8), np.array([0, 0, 0]))

    def size(logits, labels):
        return logits.sum() * 0 + len(labels)

    result = train(Brightness(), examples, epochs=1, batch_size=2, criterion=size)
    assert result.losses == pytest.approx([5 / 3])


@pytest.mark.parametrize("network", [Brightness, Dropping])
def test_one_seed_gives_one_set_of_weights(network, left_and_right):
    def trained(seed, *, elsewhere):
        torch.manual_seed(5)
        module = network()
        torch.manual_seed(elsewhere)
        # A batch of 3 does not divide 40: the order changes what a step sees.
        train(module, left_and_right, epochs=2, batch_size=3, seed=seed, augment=shaken)
        return module.state_dict()

    def shaken(images, generator):
        return images + torch.rand(images.shape, generator=generator)

    first, again = trained(1, elsewhere=6), trained(1, elsewhere=7)
    other = trained(2, elsewhere=6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_chance_elsewhere_is_left_alone(left_and_right):
    module = Dropping()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(module, left_and_right, epochs=1)
    assert torch.equal(torch.rand(4), expected)


def test_each_epoch_sees_each_example_once_and_in_training_mode():
    seen = []

    class Watching(Brightness):
        def forward(self, image):
            seen.append((self.training, image[:, 0, 0, 0].tolist()))
            return super().forward(image)

    images = np.zeros((5, 1, 2, 1), np.uint8)
    images[:, 0, 0, 0] = range(5)
    module = Watching()
    train(module, Examples(images, np.zeros(5, np.int64)), epochs=2, batch_size=2)
    assert all(is_training for is_training, _ in seen)
    assert not module.training
    rows = [row for _, batch in seen for row in batch]
    first, second = rows[:5], rows[5:]
    assert sorted(first) == sorted(second) == [0, 1, 2, 3, 4]
    assert first != second


def test_progress_counts_down(left_and_right):
    reports = []
    train(Brightness(), left_and_right, epochs=3, progress=reports.append)
    assert [(report.epoch, report.epochs) for report in reports] == [(1, 3), (2, 3), (3, 3)]
    assert reports[0].seconds_left > 0
    assert reports[-1].seconds_left == 0


def test_a_loss_that_is_no_number_ends_it(left_and_right):
    module = Brightness()
    with pytest.raises(DivergedError, match="loss is nan in epoch 1: try a learning rate below"):
        train(module, left_and_right, epochs=3, criterion=lambda z, y: z.sum() * math.nan)
    assert not module.training


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan}],
)
def test_impossible_settings_are_named(wrong, left_and_right):
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))} must be .* found"):
        train(Brightness(), left_and_right, **{"epochs": 1, **wrong})


def test_a_label_without_an_output_is_named():
    examples = Examples(np.zeros((2, 1, 2, 1), np.uint8), np.array([0, 7]))
    with pytest.raises(ExamplesError, match="label 7 has no output: the network gives 2 classes"):
        train(Brightness(), examples, epochs=1)


def test_predict_keeps_the_order_over_several_batches():
    module = Brightness().eval()
    with torch.no_grad():
        module.linear.weight[0, 0] = 255.0  # logit 0 is the left pixel's value
    images = np.zeros((600, 1, 2, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(600) % 251
    assert predict(module, images)[:, 0].round().tolist() == images[:, 0, 0, 0].tolist()
