"""ONNX Runtime's quantiser: the ranges are measured once, and layers chosen many times."""

from __future__ import annotations

import io
import itertools
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal, get_args

from eyespot.exporter.errors import DerivationError
from eyespot.exporter.parity import Batch
from eyespot.exporter.quantisation.graph import QUANTISED_TYPES, PreparedGraph
from eyespot.exporter.quantisation.processor import Scheme

Calibrator = Literal["minmax", "entropy", "percentile"]
CALIBRATORS: tuple[Calibrator, ...] = get_args(Calibrator)
Method = Literal["static", "dynamic"]
METHODS: tuple[Method, ...] = get_args(Method)

# Histograms need whole activations: those of so many batches are kept at a time.
_BATCHES_AT_ONCE = 2


class Quantiser:
    """Makes quantised graphs of one that was prepared.

    Args:
        graph: What is quantised.
        folder: To write into.
        scheme: Which numbers.
        method: "static" ranges, or "dynamic" ones, measured anew in each run.
        per_channel: Each output channel of a weight has a scale of its own.
    """

    def __init__(
        self,
        graph: PreparedGraph,
        folder: Path,
        *,
        scheme: Scheme,
        method: Method = "static",
        per_channel: bool = True,
    ) -> None:
        self._graph = graph
        self._folder = folder
        self._scheme = scheme
        self._method = method
        self._per_channel = per_channel
        self._calibrator: Calibrator = "minmax"
        self._numbers = itertools.count()

    def calibrate(
        self, batches: Sequence[Batch], *, input_name: str, calibrator: Calibrator = "minmax"
    ) -> None:
        """Measure the range of every activation.

        Args:
            batches: Pictures.
            input_name: Of the graph.
            calibrator: How a range is told from values.

        Raises:
            DerivationError: The graph cannot be run on them.
        """
        from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

        self._calibrator = calibrator
        symmetric = {"symmetric": False} if calibrator == "percentile" else {}
        with _telling("the ranges of the activations cannot be measured"):
            collecting = create_calibrator(
                self._graph.path,
                list(QUANTISED_TYPES),
                augmented_model_path=str(self._folder / "augmented.onnx"),
                calibrate_method=_calibration_method(calibrator),
                extra_options=symmetric,
            )
            for start in range(0, len(batches), _BATCHES_AT_ONCE):
                some = batches[start : start + _BATCHES_AT_ONCE]
                collecting.collect_data(_Reader(some, input_name))
            save_tensors_data(collecting.compute_data(), self._ranges)

    def quantise(self, *, but: Collection[str] = (), only: Collection[str] | None = None) -> Path:
        """Write a quantised graph, and name the file.

        Args:
            but: Layers that stay in floating point.
            only: The nodes to quantise; all that can be if not told.

        Raises:
            DerivationError: An operator cannot be quantised.
        """
        path = self._folder / f"quantised-{next(self._numbers)}.onnx"
        nodes = [name for name in (only or self._graph.nodes) if name not in but]
        with _telling("the graph cannot be quantised"):
            if self._method == "dynamic":
                self._quantise_dynamic(path, nodes)
            else:
                self._quantise_static(path, nodes)
        return path

    @property
    def _ranges(self) -> Path:
        return self._folder / "ranges.json"

    def _quantise_static(self, path: Path, nodes: list[str]) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        quantize_static(
            self._graph.path,
            path,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED_TYPES),
            nodes_to_quantize=nodes,
            per_channel=self._per_channel,
            reduce_range=self._scheme.reduce_range,
            activation_type=QuantType.QUInt8
            if self._scheme.activations == "uint8"
            else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_calibration_method(self._calibrator),
            calibration_cache_path=self._ranges,
            extra_options={"WeightSymmetric": True},
        )

    def _quantise_dynamic(self, path: Path, nodes: list[str]) -> None:
        """Quantise layers only; its convolutions take unsigned weights, in one range."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        layers = {layer.name for layer in self._graph.layers}
        quantize_dynamic(
            self._graph.path,
            path,
            # A Gemm becomes a MatMul of this name.
            nodes_to_quantize=[each for name in nodes if name in layers
                               for each in (name, f"{name}_MatMul")],
            per_channel=False,
            reduce_range=self._scheme.reduce_range,
            weight_type=QuantType.QUInt8,
        )  # fmt: skip


class _Reader:
    """What ONNX Runtime takes calibration data from."""

    def __init__(self, batches: Sequence[Batch], input_name: str) -> None:
        self._feeds = iter([{input_name: batch.inputs[0]} for batch in batches])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch; None after the last."""
        return next(self._feeds, None)


def _calibration_method(calibrator: Calibrator) -> Any:
    from onnxruntime.quantization import CalibrationMethod

    return {
        "minmax": CalibrationMethod.MinMax,
        "entropy": CalibrationMethod.Entropy,
        "percentile": CalibrationMethod.Percentile,
    }[calibrator]


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Turn whatever the quantiser raises into one error, without what it logs and prints."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except Exception as error:  # its exceptions share no class of their own
        raise DerivationError(f"{what}: {error!r}") from error
    finally:
        root.setLevel(level)
