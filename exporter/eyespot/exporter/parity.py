"""Parity: ONNX Runtime against the PyTorch original, measured and written down.

The original is the captured program as it was read back from disk; it must equal the module
it came from bit for bit. ONNX Runtime may differ by a fraction of the output's scale, the
largest magnitude in the original's output: float32 carries 6e-8 of it, and a hundred layers
of sums in another order lose up to two digits of that, while a wrong epsilon, axis or weight
shows as 1e-3 and more. No absolute tolerance is added: logits of an untrained network can be
1e-9 throughout, and any error would pass under 1e-5.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from eyespot.exporter.errors import OnnxError, ParityError
from eyespot.v1.manifest import DynamicAxis, ParityCase, ParityReport, TensorSpec
from eyespot.v1.tensors import DATATYPES

logger = logging.getLogger(__name__)

ATOL = 0.0
RTOL = 1e-4

# Along each axis of a random input.
_PATCHES = 4

# Above the smallest size of each dynamic axis, taken in turn: one odd, one even.
_BEYOND_MINIMUM = (7, 10)

# Where the classes are, by task; other outputs have none.
_CLASS_AXES = {"classification": 1, "segmentation": 1, "sequence": -1}

Array = NDArray[Any]
Run = Callable[..., tuple[Array, ...]]


@dataclass(frozen=True)
class Batch:
    """Inputs to compare on, rows first in each, and where they came from."""

    source: str
    inputs: tuple[Array, ...]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.inputs[0])


def open_session(path: Path, *, num_threads: int = 0) -> onnxruntime.InferenceSession:
    """Open an ONNX model on the CPU, quietly.

    Args:
        path: Of the model.
        num_threads: Threads of each operator; 0 leaves it to the runtime.

    Raises:
        OnnxError: ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no class of their own
        raise OnnxError(f"ONNX Runtime cannot open {path.name}: {error}") from error


def run_session(session: onnxruntime.InferenceSession) -> Run:
    """Make a function of a session: arrays in, in the order of its inputs, arrays out."""
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Array) -> tuple[Array, ...]:
        feeds = dict(zip(names, inputs, strict=True))
        try:
            return tuple(np.asarray(value) for value in session.run(None, feeds))
        except Exception as error:  # its exceptions share no class of their own
            shapes = ", ".join(str(list(value.shape)) for value in inputs)
            raise ParityError(f"ONNX Runtime fails on inputs {shapes}: {error}") from error

    return run


def run_module(module: Callable[..., Any]) -> Run:
    """Make a function on arrays of a module on tensors, without gradients."""

    def run(*inputs: Array) -> tuple[Array, ...]:
        # The module may keep or change what it is given.
        tensors = [torch.from_numpy(value.copy()) for value in inputs]
        try:
            with torch.no_grad():
                given = module(*tensors)
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            shapes = ", ".join(str(list(value.shape)) for value in inputs)
            raise ParityError(f"PyTorch fails on inputs {shapes}: {error}") from error
        given = (given,) if isinstance(given, torch.Tensor) else given
        return tuple(value.numpy() for value in given)

    return run


def batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Name the batch sizes to compare at: one row, two, and as many as may come."""
    return tuple(sorted({size for size in (1, 2, max_batch_size) if size <= max_batch_size}))


def class_axis(task: str) -> int | None:
    """Tell which axis of a task's output counts its classes."""
    return _CLASS_AXES.get(task)


def random_batches(
    specs: Sequence[TensorSpec],
    *,
    max_batch_size: int,
    seed: int,
    dynamic_axes: Sequence[DynamicAxis] = (),
    symbols: Mapping[str, int] | None = None,
) -> list[Batch]:
    """Draw batches of one row, of two, and of as many as may come.

    Where sizes are dynamic, these have the usual ones; two small batches have the smallest and
    a little more. Each row has coarse patches under its noise: rows of noise alone look the same
    to a network that averages over the picture.

    Args:
        specs: Of the inputs.
        max_batch_size: Most rows.
        seed: Of what is drawn.
        dynamic_axes: That stand in the shapes by their names.
        symbols: How many there are, for inputs of whole numbers.
    """
    generator = np.random.default_rng(seed)
    return [
        Batch(
            ", ".join(["random", *(f"{name} {size}" for name, size in sizes.items())]),
            tuple(_random_rows(spec, rows, sizes, generator, symbols or {}) for spec in specs),
        )
        for sizes, rows in _drawn_sizes(dynamic_axes, max_batch_size)
    ]


def _drawn_sizes(
    axes: Sequence[DynamicAxis], max_batch_size: int
) -> Iterator[tuple[dict[str, int], int]]:
    usual = {axis.name: axis.example for axis in axes}
    yield from ((usual, rows) for rows in batch_sizes(max_batch_size))
    if axes:
        few = min(2, max_batch_size)
        yield {axis.name: axis.minimum for axis in axes}, few
        more = itertools.cycle(_BEYOND_MINIMUM)
        yield {axis.name: axis.minimum + next(more) for axis in axes}, few


def check_is_original(original: Run, eager: Run, batches: Sequence[Batch]) -> None:
    """Check that the captured program gives what the module gives, bit for bit.

    Raises:
        ParityError: It does not; the module may branch on the size of its input.
    """
    for batch in batches:
        for found, expected in zip(original(*batch.inputs), eager(*batch.inputs), strict=True):
            if found.shape != expected.shape:
                raise ParityError(
                    f"the captured program gives {list(found.shape)}, the module "
                    f"{list(expected.shape)}, at batch {len(batch)} ({batch.source}): does the "
                    "module branch on its input?"
                )
            if not np.array_equal(found, expected, equal_nan=True):
                raise ParityError(
                    f"the captured program differs from the module by "
                    f"{np.abs(found - expected).max():.3g} at batch {len(batch)} "
                    f"({batch.source}): does the module branch on its input?"
                )


def measure(
    original: Run,
    served: Run,
    batches: Sequence[Batch],
    *,
    outputs: Sequence[str],
    class_axis: int | None = None,
    atol: float = ATOL,
    rtol: float = RTOL,
) -> ParityReport:
    """Compare the two artefacts on each batch, in each output.

    Args:
        original: Gives what is right.
        served: Gives what is compared.
        batches: To compare on.
        outputs: Their names.
        class_axis: Of the first output; None where it has no classes.
        atol: Tolerated difference.
        rtol: Tolerated difference as a fraction of the output's scale.

    Raises:
        ParityError: They differ beyond `atol` plus `rtol` times the output's scale, or an
            output is not finite, or rows influence each other.
    """
    cases = compare(
        original, served, batches, outputs=outputs, class_axis=class_axis, atol=atol, rtol=rtol
    )
    _check_rows(original, max(batches, key=len), atol=atol, rtol=rtol)
    return ParityReport(atol, rtol, cases)


def compare(
    original: Run,
    served: Run,
    batches: Sequence[Batch],
    *,
    outputs: Sequence[str],
    class_axis: int | None = None,
    atol: float = math.inf,
    rtol: float = 0.0,
) -> tuple[ParityCase, ...]:
    """Compare outputs and nothing else; arguments as `measure`, but any difference will do.

    Raises:
        ParityError: They differ beyond what is tolerated, or an output is not finite.
    """
    cases = []
    for batch in batches:
        pairs = zip(original(*batch.inputs), served(*batch.inputs), strict=True)
        for number, (output, (expected, found)) in enumerate(zip(outputs, pairs, strict=True)):
            case = _compare(batch, expected, found, output, atol, rtol)
            if class_axis is not None and number == 0:
                agreement = float(np.mean(_top(found, class_axis) == _top(expected, class_axis)))
                case = case._replace(top1_agreement=agreement)
            cases.append(case)
    return tuple(cases)


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
        top1_agreement=None,
    )


def _top(values: Array, axis: int) -> Array:
    top: Array = values.argmax(axis=axis)
    return top


def _check_rows(original: Run, batch: Batch, *, atol: float, rtol: float) -> None:
    """Check that a row's answer is its own: batching would mix strangers' pictures."""
    if len(batch) < 2:
        return
    first_row = [value[:1] for value in batch.inputs]
    answers = zip(original(*batch.inputs), original(*first_row), strict=True)
    for together, alone in answers:
        scale = float(np.abs(together).max())
        difference = float(np.abs(alone[0] - together[0]).max())
        if difference > atol + rtol * scale:
            raise ParityError(
                f"the first row changes by {difference:.3g}, {difference / scale:.3g} of the "
                "scale, when others are in its batch: such a network cannot be served in batches"
            )
        if scale and float(np.ptp(together, axis=0).max()) <= rtol * scale:
            logger.warning("the network answers every input alike; its parity proves little")


def _random_rows(
    spec: TensorSpec,
    rows: int,
    sizes: Mapping[str, int],
    generator: np.random.Generator,
    symbols: Mapping[str, int],
) -> Array:
    lengths = [sizes[length] if isinstance(length, str) else length for length in spec.shape[1:]]
    dtype = DATATYPES[spec.datatype].numpy
    if spec.name in symbols:
        return generator.integers(0, symbols[spec.name], (rows, *lengths)).astype(dtype)
    coarse = [min(_PATCHES, length) for length in lengths]
    patches = generator.random((rows, *coarse), np.float32)
    spread = [
        np.arange(length) * few // length for length, few in zip(lengths, coarse, strict=True)
    ]
    noise = generator.random((rows, *lengths), np.float32)
    drawn = (noise + patches[np.ix_(np.arange(rows), *spread)]) / 2  # in [0, 1)
    return (drawn * 256 if dtype == np.uint8 else drawn * 4 - 2).astype(dtype)
