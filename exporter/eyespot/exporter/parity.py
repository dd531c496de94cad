"""Parity: ONNX Runtime against the PyTorch original, measured and written down.

The original is the captured program as it was read back from disk; it must equal the module
it came from bit for bit. ONNX Runtime may differ by a fraction of the output's scale, the
largest magnitude in the original's output: float32 carries 6e-8 of it, and a hundred layers
of sums in another order lose up to two digits of that, while a wrong epsilon, axis or weight
shows as 1e-3 and more. No absolute tolerance is added: logits of an untrained network can be
1e-9 throughout, and any error would pass under 1e-5.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from eyespot.exporter.errors import OnnxError, ParityError
from eyespot.v1.manifest import ParityCase, ParityReport, TensorSpec
from eyespot.v1.tensors import DATATYPES

logger = logging.getLogger(__name__)

ATOL = 0.0
RTOL = 1e-4

# Along each axis of a random input.
_PATCHES = 4

Array = NDArray[Any]
Run = Callable[[Array], Array]


@dataclass(frozen=True)
class Batch:
    """Rows to compare on, and where they came from."""

    source: str
    rows: Array


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Open an ONNX model on the CPU, quietly.

    Raises:
        OnnxError: ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        raise OnnxError(f"ONNX Runtime cannot open {path.name}: {error}") from error


def run_session(session: onnxruntime.InferenceSession) -> Run:
    """Make a function of a session with one input and one output."""
    (name,) = [value.name for value in session.get_inputs()]
    return lambda rows: np.asarray(session.run(None, {name: rows})[0])


def run_module(module: Callable[[torch.Tensor], torch.Tensor]) -> Run:
    """Make a function on arrays of a module on tensors, without gradients."""

    def run(rows: Array) -> Array:
        with torch.no_grad():
            # The module may keep or change what it is given.
            return module(torch.from_numpy(rows.copy())).numpy()

    return run


def batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Name the batch sizes to compare at: one row, two, and as many as may come."""
    return tuple(sorted({size for size in (1, 2, max_batch_size) if size <= max_batch_size}))


def random_batches(spec: TensorSpec, *, sizes: Iterable[int], seed: int) -> list[Batch]:
    """Draw one batch of each size.

    Each row has coarse patches under its noise: rows of noise alone look the same to a
    network that averages over the picture.
    """
    generator = np.random.default_rng(seed)
    return [Batch("random", _random_rows(spec, size, generator)) for size in sizes]


def check_is_original(original: Run, eager: Run, batches: Sequence[Batch]) -> None:
    """Check that the captured program gives what the module gives, bit for bit.

    Raises:
        ParityError: It does not; the module may branch on the size of the batch.
    """
    for batch in batches:
        found, expected = original(batch.rows), eager(batch.rows)
        if not np.array_equal(found, expected, equal_nan=True):
            raise ParityError(
                f"the captured program differs from the module by "
                f"{np.abs(found - expected).max():.3g} at batch {len(batch.rows)}: does the "
                "module branch on its input?"
            )


def measure(
    original: Run,
    served: Run,
    batches: Sequence[Batch],
    *,
    output: str,
    atol: float = ATOL,
    rtol: float = RTOL,
) -> ParityReport:
    """Compare the two artefacts on each batch.

    Raises:
        ParityError: They differ beyond `atol` plus `rtol` times the output's scale, or an
            output is not finite, or rows influence each other.
    """
    cases = [
        _compare(batch, original(batch.rows), served(batch.rows), output, atol, rtol)
        for batch in batches
    ]
    largest = max(batches, key=lambda batch: len(batch.rows))
    _check_rows(original, largest, atol=atol, rtol=rtol)
    return ParityReport(atol, rtol, tuple(cases))


def _compare(
    batch: Batch, expected: Array, found: Array, output: str, atol: float, rtol: float
) -> ParityCase:
    where = f"output {output!r} at batch {len(expected)} ({batch.source})"
    if found.shape != expected.shape:
        raise ParityError(
            f"{where} has shape {list(found.shape)} in ONNX Runtime, {list(expected.shape)} "
            "in PyTorch"
        )
    for name, values in (("PyTorch", expected), ("ONNX Runtime", found)):
        if not np.isfinite(values).all():
            raise ParityError(f"{where} is not finite in {name}: parity cannot be shown")
    scale = float(np.abs(expected).max())
    max_abs_diff = float(np.abs(found - expected).max())
    max_rel_diff = max_abs_diff / scale if scale else max_abs_diff
    if max_abs_diff > atol + rtol * scale:
        raise ParityError(
            f"{where} differs by {max_abs_diff:.3g}, {max_rel_diff:.3g} of its scale "
            f"{scale:.3g}; {rtol:.3g} is tolerated"
        )
    return ParityCase(
        source=batch.source,
        batch_size=len(expected),
        output=output,
        max_abs_diff=max_abs_diff,
        max_rel_diff=max_rel_diff,
        top1_agreement=float(np.mean(_top(found) == _top(expected))),
    )


def _top(values: Array) -> Array:
    top: Array = values.argmax(axis=1)
    return top


def _check_rows(original: Run, batch: Batch, *, atol: float, rtol: float) -> None:
    """Check that a row's answer is its own: batching would mix strangers' pictures."""
    together = original(batch.rows)
    if len(together) < 2:
        return
    alone = original(batch.rows[:1])
    scale = float(np.abs(together).max())
    difference = float(np.abs(alone[0] - together[0]).max())
    if difference > atol + rtol * scale:
        raise ParityError(
            f"the first row changes by {difference:.3g}, {difference / scale:.3g} of the scale, "
            "when others are in its batch: such a network cannot be served in batches"
        )
    if scale and float(np.ptp(together, axis=0).max()) <= rtol * scale:
        logger.warning("the network answers every input alike; its parity proves little")


def _random_rows(spec: TensorSpec, size: int, generator: np.random.Generator) -> Array:
    lengths = [int(length) for length in spec.shape[1:]]
    coarse = [min(_PATCHES, length) for length in lengths]
    patches = generator.random((size, *coarse), np.float32)
    spread = [
        np.arange(length) * few // length for length, few in zip(lengths, coarse, strict=True)
    ]
    noise = generator.random((size, *lengths), np.float32)
    rows = (noise + patches[np.ix_(np.arange(size), *spread)]) / 2  # in [0, 1)
    dtype = DATATYPES[spec.datatype].numpy
    return (rows * 256 if dtype == np.uint8 else rows * 4 - 2).astype(dtype)
