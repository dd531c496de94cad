"""Every network of the zoo into one repository, one at a time, with what each took."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eyespot.exporter.export import ExportResult
from eyespot.exporter.onnx_file import DEFAULT_OPSET
from eyespot.exporter.zoo_export import export_zoo_parts
from eyespot.zoo import list_models, model_entry

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"  # proc(5): resets VmHWM


@dataclass(frozen=True)
class ZooRow:
    """What became of one network.

    Attributes:
        name: Of the network.
        models: That it became, in the repository.
        parameter_count: Of the network.
        export_seconds: From building it to the finished proof.
        size_bytes: Of the graphs and their weights; the originals take as much again.
        max_abs_diff: Largest in any output and batch.
        max_rel_diff: The same as a fraction of the output's scale.
        opset_version: Of the graphs.
        peak_bytes: Most memory of the process meanwhile.
        reason: Why it failed; None where it did not.
    """

    name: str
    models: tuple[str, ...]
    parameter_count: int
    export_seconds: float
    size_bytes: int | None
    max_abs_diff: float | None
    max_rel_diff: float | None
    opset_version: int | None
    peak_bytes: int
    reason: str | None = None


def export_zoo(
    *,
    repository: Path | str,
    names: Sequence[str] | None = None,
    opset_version: int = DEFAULT_OPSET,
    external_data: bool = False,
    gradient_graph: bool = False,
    max_batch_size: int | None = None,
    replace: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Iterator[ZooRow]:
    """Export every network with random weights; one that fails stops none of the others.

    Args:
        repository: Made if it does not exist.
        names: Of the networks; all that there are if not told.
        opset_version: Of the graphs.
        external_data: Keep the weights of each graph in a file of their own.
        gradient_graph: Write the gradient as ONNX graphs as well.
        max_batch_size: Most rows of a batch; chosen by the size of the input if not told.
        replace: Replace the latest version of each.
        seed: Of random weights and random inputs.
        progress: Told what is being done.
    """
    names = list_models() if names is None else names
    tell = progress or (lambda _: None)
    for number, name in enumerate(names, start=1):
        gc.collect()
        _reset_peak()
        begin = time.monotonic()
        results: tuple[ExportResult, ...] = ()
        reason = None
        try:
            results = export_zoo_parts(
                name,
                repository=repository,
                opset_version=opset_version,
                external_data=external_data,
                gradient_graph=gradient_graph,
                max_batch_size=max_batch_size,
                replace=replace,
                seed=seed,
                progress=lambda text: tell(f"{number} of {len(names)}, {name}: {text}"),  # noqa: B023
            )
        except Exception as error:  # a network's own mistake is a row like any other
            reason = str(error) or repr(error)
        yield _row(name, results, time.monotonic() - begin, reason)


def _row(name: str, results: Sequence[ExportResult], seconds: float, reason: str | None) -> ZooRow:
    manifests = [result.manifest for result in results]
    cases = [case for m in manifests if m.parity is not None for case in m.parity.cases]
    return ZooRow(
        name=name,
        models=tuple(manifest.model_name for manifest in manifests),
        parameter_count=model_entry(name).parameter_count,
        export_seconds=seconds,
        size_bytes=sum(map(_size, results)) if results else None,
        max_abs_diff=max((case.max_abs_diff for case in cases), default=None),
        max_rel_diff=max((case.max_rel_diff for case in cases), default=None),
        opset_version=manifests[0].opset_version if manifests else None,
        peak_bytes=_peak_bytes(),
        reason=reason,
    )


def _size(result: ExportResult) -> int:
    return sum(path.stat().st_size for path in result.path.glob("model.onnx*"))


def _reset_peak() -> None:
    """Begin to measure anew, where the system can; elsewhere the peak is that of all so far."""
    if _CLEAR.exists():
        _CLEAR.write_text(_RESET_PEAK)


def _peak_bytes() -> int:
    if _CLEAR.exists():
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
