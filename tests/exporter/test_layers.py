"""The table of layers: counted by hand on tiny networks, by PyTorch on whole ones."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from eyespot.exporter import (
    CaptureError,
    InputSizeError,
    OriginalError,
    entry_program,
    layer_table,
    trace,
    trace_zoo_model,
)
from eyespot.zoo import ArchitectureError, UnknownModelError, model_entry


class ArticleExample(nn.Module):
    """A 30x30 picture, ten 5x5 filters, pooling, 200 units."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 10, 5)
        self.pool = nn.MaxPool2d(2)
        self.full = nn.Linear(1690, 200)

    def forward(self, x):
        return self.full(self.pool(torch.relu(self.conv(x))).flatten(1))


def test_the_columns_by_hand():
    table = layer_table(trace(ArticleExample(), torch.zeros(1, 1, 30, 30)))
    rows = {layer.node: layer for layer in table.layers}
    conv, pool, full = rows["conv2d"], rows["max_pool2d"], rows["linear"]
    assert (conv.scope, conv.kind) == ("conv", "convolution 5x5, padding valid")
    assert (conv.output_shape, conv.parameters) == ((1, 10, 26, 26), 260)
    assert conv.macs == 26 * 26 * 10 * 25
    assert conv.output_size.endswith("= 26")
    assert (pool.output_shape, pool.fields[0].size, pool.fields[0].stride) == (
        (1, 10, 13, 13), 6, 2,
    )  # fmt: skip
    assert (full.parameters, full.macs, full.fields) == (338_200, 338_000, ())
    assert table.parameters == 338_460
    assert table.macs == conv.macs + full.macs
    assert table.last_map is pool
    assert table.undefined_from is None


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "mobilenet_v2"])
def test_totals_are_those_that_are_declared(name):
    table = layer_table(trace_zoo_model(name))
    entry = model_entry(name)
    assert table.parameters == sum(layer.parameters for layer in table.layers)
    assert table.parameters == entry.parameter_count
    assert table.macs == sum(layer.macs for layer in table.layers) == entry.macs
    assert table.last_map.fields[-1].size == entry.receptive_field


def test_macs_are_those_of_pytorch_for_what_is_not_a_convolution_too():
    module = nn.Sequential(nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.Flatten(2), nn.Linear(256, 5))
    image = torch.zeros(1, 2, 8, 8)
    with FlopCounterMode(display=False) as counter:
        module(image)
    assert layer_table(trace(module, image)).macs == counter.get_total_flops() // 2


def test_a_weight_that_is_used_twice_counts_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            return self.conv(torch.relu(self.conv(x)))

    table = layer_table(trace(Tied(), torch.zeros(1, 1, 5, 5)))
    assert [layer.parameters for layer in table.layers] == [10, 0, 0]


def test_a_module_is_left_as_it_was_found():
    module = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    layer_table(trace(module, torch.zeros(1, 1, 5, 5)))
    assert all(part.training for part in module.modules())


def test_a_global_pool_of_pixels_sees_everything():
    class OfPixels(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1)
            self.full = nn.Linear(4, 2)

        def forward(self, x):
            # Channels come last, and PyTorch lays out what the pool gives in the same way.
            return self.full(self.pool(self.conv(x.permute(0, 3, 1, 2))).flatten(1))

    table = layer_table(trace(OfPixels(), torch.zeros(1, 8, 8, 3)))
    assert table.undefined_from is None
    assert table.notes == ()


def test_fields_are_undefined_from_an_operator_without_a_rule():
    class Sums(nn.Module):
        def forward(self, x):
            return torch.relu(torch.cumsum(nn.functional.avg_pool2d(x, 2), dim=2))

    table = layer_table(trace(Sums(), torch.zeros(1, 1, 8, 8)))
    assert (table.undefined_from.node, table.undefined_from.undefined) == ("cumsum", "cumsum")
    assert table.last_map.node == "avg_pool2d"
    assert table.layers[-1].undefined == "cumsum"


def test_what_the_numbers_do_not_say_is_noted():
    class Shifted(nn.Module):
        def forward(self, x):
            shifted = nn.functional.avg_pool2d(nn.functional.pad(x, (2, 0, 2, 0)), 3, 1)
            return x + shifted + shifted

    table = layer_table(trace(Shifted(), torch.zeros(1, 1, 8, 8)))
    assert table.notes == ("add joins paths whose fields have different centres",)


def test_an_input_that_is_too_small_is_told_the_smallest():
    module = nn.Sequential(nn.Conv2d(1, 1, 5), nn.MaxPool2d(2), nn.Conv2d(1, 1, 5))
    with pytest.raises(InputSizeError, match="smallest that passes has sides of 14 "):
        trace(module, torch.zeros(1, 1, 9, 9))
    assert layer_table(trace(module, torch.zeros(1, 1, 14, 14))).layers[-1].output_shape[2:] == (
        1,
        1,
    )


def test_an_input_that_does_not_fit_is_no_matter_of_size():
    with pytest.raises(CaptureError, match="cannot be traced on inputs of shape"):
        trace(nn.Conv2d(3, 1, 3), torch.zeros(1, 1, 9, 9))


def test_the_zoo_tells_its_own_errors():
    with pytest.raises(UnknownModelError, match="did you mean 'lenet5'"):
        trace_zoo_model("lenet55")
    with pytest.raises(ArchitectureError, match="at least 63"):
        trace_zoo_model("alexnet", input_size=62)
    assert layer_table(trace_zoo_model("resnet20", input_size=64)).input_shapes == ((1, 3, 64, 64),)


def test_an_entry_of_a_repository(exported):
    folder = exported.path.parent.parent
    table = layer_table(entry_program(folder, "small"))
    assert table.input_shapes == ((1, 12, 12, 3),)
    assert table.parameters == 6 * 3 * 9 + 6 + 12 + 6 * 5 + 5
    assert table.last_map.output_shape == (1, 6, 6, 6)
    assert [(field.axis, field.size) for field in table.last_map.fields] == [(1, 3), (2, 3)]
    assert table.layers[-1].scope == "network.head"


def test_an_entry_that_holds_a_pickle_is_refused(exported, tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(exported.path.parent.parent, folder)
    with zipfile.ZipFile(folder / "small" / "1" / "original.pt2", "a") as archive:
        archive.writestr("small/data/evil.pkl", b"cos\nsystem\n")
    with pytest.raises(OriginalError):
        entry_program(folder, "small")


def test_the_example_of_the_docs(capsys):
    page = Path(__file__).resolve().parents[2] / "docs" / "inspect.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(example, {})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("0 convolution 5x5, padding valid (1, 8, 26, 26) 608 405600 ")
    assert second.startswith("1 max pooling 2x2, stride 2, padding valid (1, 8, 13, 13) 0 0 ")


@pytest.fixture(scope="module")
def free_sizes():
    """A program that takes any height and width from 16 on, as its operators do from 14 on."""
    module = nn.Sequential(nn.Conv2d(1, 1, 5), nn.MaxPool2d(2), nn.Conv2d(1, 1, 5))
    sizes = {0: torch.export.Dim("batch")}
    sizes |= {axis: torch.export.Dim(name, min=16) for axis, name in ((2, "height"), (3, "width"))}
    return torch.export.export(module, (torch.zeros(2, 1, 20, 24),), dynamic_shapes=(sizes,))


def test_sizes_that_are_free_are_as_captured_or_as_asked(free_sizes):
    assert layer_table(free_sizes).input_shapes == ((1, 1, 20, 24),)
    table = layer_table(free_sizes, input_size=16)
    assert (table.input_shapes, table.layers[-1].output_shape) == (((1, 1, 16, 16),), (1, 1, 2, 2))


def test_a_size_that_the_program_cannot_have(free_sizes):
    with pytest.raises(InputSizeError, match="sides of 9 do not fit; the smallest that do: 14"):
        layer_table(free_sizes, input_size=9)
    fixed = trace(nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 9, 9))
    with pytest.raises(InputSizeError, match=r"takes rows of \[1, 9, 9\] and no other size"):
        layer_table(fixed, input_size=12)
