"""A session that is served: its batches fit into memory, and its faults are found and mended."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from eyespot.server.batcher import Clock
from eyespot.server.guard import Guard
from eyespot.server.loaded_version import LoadedVersion, check_unchanged
from eyespot.server.memory_fit import MemoryFit
from eyespot.server.workers import Workers

Array = NDArray[np.generic]

_logger = logging.getLogger(__name__)


class WatchedSession:
    """Runs the session of one model version.

    Args:
        loaded: The version.
        workers: Where it is probed and made anew.
        count_fault: Told the kind of each fault, one of `statistics.FAULTS`.
        on_change: Told after the session has become usable, or unusable.
        clock: The running event loop unless given.
    """

    def __init__(
        self,
        loaded: LoadedVersion,
        *,
        workers: Workers,
        count_fault: Callable[[str], object],
        on_change: Callable[[], object],
        clock: Clock | None,
    ) -> None:
        self._loaded = loaded
        self._session = loaded.session
        self._output_names = [output.name for output in loaded.config.outputs]
        self._good_inputs = loaded.good_inputs
        self._count_fault = count_fault
        self._name = f"model {loaded.config.name!r} version {loaded.folder.model_version}"
        self.guard = Guard(
            f"the session of {self._name}",
            probe=self._probe,
            rebuild=self._rebuild,
            workers=workers,
            count_fault=count_fault,
            on_change=on_change,
            clock=clock,
        )
        self._fit = self._new_fit()

    def busy_seconds(self) -> float:
        """A clock of the session's own work: the difference of two looks is what lay between."""
        return self._session.busy_seconds()

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph on all rows, in parts where memory demands it; blocks.

        Raises:
            InvalidArgumentError: The graph rejects the values.
            ResourceExhaustedError: One row needs more memory than there is.
        """
        outputs = self._fit.run(inputs)
        if self._good_inputs is None:
            # A copy: they may lie in memory that a caller shares.
            self._good_inputs = {name: array.copy() for name, array in inputs.items()}
        return outputs

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._session.run(inputs, self._output_names)

    def _probe(self) -> None:
        if self._good_inputs is not None:
            self._run(self._good_inputs)

    def _rebuild(self) -> None:
        check_unchanged(self._loaded)
        self._session.reopen()
        self._fit = self._new_fit()

    def _new_fit(self) -> MemoryFit:
        return MemoryFit(
            self._run,
            is_batched=self._loaded.config.max_batch_size > 0,
            on_shortage=self._note_shortage,
        )

    def _note_shortage(self, rows: int) -> None:
        self._count_fault("memory")
        then = f"it goes on with {rows} at once" if rows else "and it had only one row"
        _logger.warning("%s: memory did not suffice for a batch, %s", self._name, then)
