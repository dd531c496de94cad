"""The proof itself: what is measured, and what does not pass."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import eyespot.exporter.onnx_file
from eyespot.exporter import ParityError, export
from eyespot.exporter.parity import Batch, batch_sizes, check_is_original, measure, random_batches
from eyespot.v1.manifest import TensorSpec
from eyespot.zoo import enliven

ROWS = Batch("random", (np.float32([[1, 0, 0], [0, 4, 0]]),))


def answer(values):
    """A network that answers row by row from a table, whatever it is shown."""
    table = np.float32(values)
    return lambda rows: (table[: len(rows)],)


def test_differences_are_measured_against_the_largest_magnitude():
    report = measure(
        answer([[1.0, 2.0], [-4.0, 0.0]]),
        answer([[1.0, 2.25], [-4.0, 0.5]]),
        [ROWS],
        outputs=["logits"],
        class_axis=1,
        rtol=0.2,
    )
    (case,) = report.cases
    assert (case.source, case.batch_size, case.output) == ("random", 2, "logits")
    assert case.max_abs_diff == 0.5
    assert case.max_rel_diff == 0.5 / 4
    assert case.top1_agreement == 1.0
    assert (report.atol, report.rtol) == (0.0, 0.2)


def test_top1_agreement_counts_rows():
    report = measure(
        answer([[1.0, 1.5], [2.0, 0.0]]),
        answer([[1.5, 1.0], [2.0, 0.0]]),
        [ROWS],
        outputs=["logits"],
        class_axis=1,
        rtol=0.3,
    )
    assert report.cases[0].top1_agreement == 0.5


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (
            [[1.0, 2.0], [-4.0, 0.001]],
            r"'logits' at batch 2 \(random\) differs by 0.001, 0.00025 of",
        ),
        ([[1.0, 2.0], [-4.0, np.nan]], "not finite in ONNX Runtime"),
        ([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], r"shape \[2, 3\] in ONNX Runtime, \[2, 2\]"),
    ],
)
def test_what_differs_fails_and_says_by_how_much(found, told):
    with pytest.raises(ParityError, match=told):
        measure(answer([[1.0, 2.0], [-4.0, 0.0]]), answer(found), [ROWS], outputs=["logits"])


def test_an_original_that_is_not_finite_proves_nothing():
    same = answer([[1.0, np.inf], [0.0, 0.0]])
    with pytest.raises(ParityError, match="not finite in PyTorch"):
        measure(same, same, [ROWS], outputs=["logits"])


def test_tiny_logits_are_held_to_their_own_scale():
    with pytest.raises(ParityError, match="of its scale 2e-09"):
        measure(answer([[1e-9], [2e-9]]), answer([[1e-9], [2.1e-9]]), [ROWS], outputs=["logits"])


def test_rows_that_influence_each_other_fail():
    mixing = lambda rows: (rows - rows.mean(0),)  # noqa: E731
    with pytest.raises(ParityError, match="cannot be served in batches"):
        measure(mixing, mixing, [ROWS], outputs=["logits"])


def test_a_network_that_answers_alike_is_warned_of(caplog):
    dead = answer([[1.0, 2.0], [1.0, 2.0]])
    measure(dead, dead, [ROWS], outputs=["logits"])
    assert "proves little" in caplog.text


def test_the_original_must_equal_the_module_to_the_last_bit():
    one = np.float32(1)
    with pytest.raises(ParityError, match="at batch 2"):
        check_is_original(answer([[1], [1]]), answer([[1], [np.nextafter(one, 2 * one)]]), [ROWS])
    check_is_original(answer([[1], [1]]), answer([[1], [1]]), [ROWS])


def test_batches_are_of_one_two_and_the_most():
    assert batch_sizes(8) == (1, 2, 8)
    assert batch_sizes(2) == (1, 2)
    assert batch_sizes(1) == (1,)


@pytest.mark.parametrize(("datatype", "low", "high"), [("UINT8", 0, 255), ("FP32", -2, 2)])
def test_random_rows_fill_the_range_and_differ(datatype, low, high):
    spec = TensorSpec("image", datatype, ("batch", 16, 20, 3))
    one, _, batch = random_batches([spec], max_batch_size=32, seed=3)
    (rows,) = batch.inputs
    assert (len(one), len(batch), rows.shape) == (1, 32, (32, 16, 20, 3))
    assert low <= rows.min() < low + (high - low) * 0.1
    assert high >= rows.max() > high - (high - low) * 0.1
    means = rows.mean((1, 2))
    assert means.std(0).min() > 0.03 * (high - low)  # noise alone: 0.29 / sqrt(320) = 0.016
    again = random_batches([spec], max_batch_size=32, seed=3)
    assert np.array_equal(rows, again[2].inputs[0])
    other = random_batches([spec], max_batch_size=32, seed=4)
    assert not np.array_equal(one.inputs[0], other[0].inputs[0])


def scaled(name, factor):
    """Spoil a weight of the graph."""

    def spoil(model: onnx.ModelProto) -> None:
        weight = next(w for w in model.graph.initializer if w.name == name)
        spoilt = (numpy_helper.to_array(weight) * factor).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(spoilt, weight.name))

    return spoil


class NormFirst(nn.Module):
    """A batch norm with no convolution before it that the translation could merge it into."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(self.norm(x))).mean((2, 3))


def with_epsilon(model: onnx.ModelProto) -> None:
    """Give the batch norm another epsilon."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = 1e-3
                return
    raise AssertionError("the graph has no batch norm")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (scaled("conv.weight", 1.001), r"output 'logits' at batch 1 \(random\) differs by"),
        (scaled("conv.weight", np.nan), "not finite in ONNX Runtime"),
        (scaled("norm.running_mean", 0.9), "differs by"),
        (scaled("conv.bias", 0), "differs by"),  # as in PyTorch's issue 166797
        (with_epsilon, "differs by"),
    ],
)
def test_a_broken_translation_is_caught_and_leaves_nothing(
    tmp_path, monkeypatch, walk, spoil, told
):
    whole = eyespot.exporter.onnx_file._strip

    def strip_and_spoil(model: onnx.ModelProto) -> None:
        whole(model)
        spoil(model)

    monkeypatch.setattr(eyespot.exporter.onnx_file, "_strip", strip_and_spoil)
    torch.manual_seed(0)
    net = NormFirst().eval()
    enliven(net, [torch.randn(4, 3, 12, 12)], seed=0)
    with pytest.raises(ParityError, match=told):
        export(net, torch.zeros(1, 3, 12, 12), repository=tmp_path / "repository", name="net")
    assert walk(tmp_path) == []


def test_a_module_that_branches_on_one_row_is_caught(tmp_path, walk):
    class Branching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = x.mean((2, 3))
            return logits * 3 if x.shape[0] == 1 else logits

    with pytest.raises(ParityError, match="differs from the module"):
        export(Branching(), torch.zeros(1, 3, 4, 4), repository=tmp_path / "new", name="net")
    assert walk(tmp_path) == []
