"""Windows against PyTorch's own output sizes, and how they are written."""

import itertools

import pytest
import torch
from torch import nn

from eyespot.exporter.field_tracking import FieldTracker


def window_of(module, *sizes):
    """Run a layer without memory: its window, the sizes that it slid over, its output's sizes."""
    image = torch.empty(1, 2, *sizes, device="meta")
    tracker = FieldTracker()
    tracker.begin(image)
    with torch.no_grad(), tracker:
        output = module.to("meta")(image)
    window, found = tracker.window
    assert found == sizes
    return window, tuple(output.shape[2:])


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    list(itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2))),
)
def test_the_output_size_of_a_convolution(kernel, stride, padding, dilation):
    conv = nn.Conv2d(2, 3, kernel, stride, padding, dilation)
    for size in (11, 12):
        window, output = window_of(conv, size, size)
        assert (window.output_size(0, size), window.output_size(1, size)) == output


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "output_padding"),
    [(4, 2, 1, 1, 0), (3, 2, 1, 1, 1), (2, 2, 0, 1, 0), (3, 1, 0, 2, 0), (5, 3, 2, 2, 1)],
)
def test_the_output_size_of_a_transposed_convolution(
    kernel, stride, padding, dilation, output_padding
):
    conv = nn.ConvTranspose2d(
        2, 3, kernel, stride, padding, output_padding=output_padding, dilation=dilation
    )
    window, output = window_of(conv, 7, 7)
    assert window.output_size(0, 7) == output[0]


@pytest.mark.parametrize("size", range(5, 12))
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 0), (3, 2, 1), (2, 2, 1)])
def test_the_output_size_of_pooling_that_rounds_up(size, kernel, stride, padding):
    window, output = window_of(nn.MaxPool2d(kernel, stride, padding, ceil_mode=True), size, size)
    assert window.output_size(0, size) == output[0]
    assert window.formula((size, size)).endswith(f" = {output[0]}")


def test_the_formulas_are_written_with_their_numbers():
    window, _ = window_of(nn.Conv2d(2, 3, 7, 2, 3), 224, 224)
    assert window.formula((224, 224)) == "floor((224 + 2*3 - 1*(7 - 1) - 1)/2) + 1 = 112"
    window, _ = window_of(nn.Conv2d(2, 3, 5), 30, 30)
    assert window.formula((30, 30)) == "(30 + 2*0 - 1*(5 - 1) - 1)/1 + 1 = 26"
    window, _ = window_of(nn.ConvTranspose2d(2, 3, 4, 2, 1), 7, 7)
    assert window.formula((7, 7)) == "(7 - 1)*2 - 2*1 + 1*(4 - 1) + 1 = 14"
    window, _ = window_of(nn.Conv2d(2, 3, (1, 7), padding=(0, 3)), 17, 17)
    assert window.formula((17, 17)) == (
        "(17 + 2*0 - 1*(1 - 1) - 1)/1 + 1 = 17; (17 + 2*3 - 1*(7 - 1) - 1)/1 + 1 = 17"
    )


@pytest.mark.parametrize(
    ("padding", "dilation", "name"),
    [(0, 1, "valid"), (2, 1, "same (2)"), (4, 1, "full (4)"), (3, 1, "3"), (4, 2, "same (4)")],
)
def test_paddings_have_names(padding, dilation, name):
    window, _ = window_of(nn.Conv2d(2, 3, 5, padding=padding, dilation=dilation), 20, 20)
    assert window.padding_text() == name


def test_windows_in_words():
    def text(module):
        return window_of(module, 16, 16)[0].text()

    assert text(nn.Conv2d(2, 3, 1)) == "convolution 1x1"
    assert text(nn.Conv2d(2, 4, 3, groups=2)) == "depthwise convolution 3x3, padding valid"
    assert text(nn.Conv2d(2, 3, 3, 2, 2, 2)) == (
        "convolution 3x3, stride 2, padding same (2), dilation 2"
    )
    assert text(nn.ConvTranspose2d(2, 3, 2, 2)) == (
        "transposed convolution 2x2, stride 2, padding valid"
    )
    assert text(nn.AvgPool2d(2)) == "average pooling 2x2, stride 2, padding valid"
