"""ONNX Runtime without a server: the ceiling that serving is measured against."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray


@dataclass(frozen=True)
class Setting:
    """Sessions side by side, threads in each, rows per run."""

    sessions: int
    threads: int
    batch_size: int


@dataclass(frozen=True)
class Pace:
    """What one image took."""

    seconds: float
    cpu_seconds: float


class InProcess:
    """A model at its best settings on this machine, found by trying.

    The fastest setting is seldom the one with the least CPU time: threads that wait for each
    other spin. Each figure is held against the setting that is best at it.
    """

    def __init__(self, model: Path, row: NDArray[np.generic], *, images: int) -> None:
        self._model = model
        self._row = row
        self._images = images
        tried = {setting: self._measure(setting) for setting in _SETTINGS}
        self.fastest = min(tried, key=lambda setting: tried[setting].seconds)
        self.most_frugal = min(tried, key=lambda setting: tried[setting].cpu_seconds)

    @property
    def input_name(self) -> str:
        """What the model calls its input."""
        session = onnxruntime.InferenceSession(self._model, providers=["CPUExecutionProvider"])
        name: str = session.get_inputs()[0].name
        return name

    def measure(self) -> Pace:
        """Run the images once at each best setting; give the best of both."""
        seconds = self._measure(self.fastest).seconds
        return Pace(seconds, self._measure(self.most_frugal).cpu_seconds)

    def _measure(self, setting: Setting) -> Pace:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setting.threads
        sessions = [
            onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
            for _ in range(setting.sessions)
        ]
        batch = np.repeat(self._row, setting.batch_size, axis=0)
        feed = {sessions[0].get_inputs()[0].name: batch}
        runs = max(1, self._images // setting.batch_size // setting.sessions)

        def work(session: onnxruntime.InferenceSession) -> None:
            for _ in range(runs):
                session.run(None, feed)

        for session in sessions:
            session.run(None, feed)
        began, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(setting.sessions) as pool:
            list(pool.map(work, sessions))
        images = runs * setting.batch_size * setting.sessions
        return Pace((time.perf_counter() - began) / images, (time.process_time() - cpu) / images)


_SETTINGS = [
    Setting(sessions, threads, batch_size)
    for sessions, threads in ((1, 1), (1, 2), (2, 1))
    for batch_size in (1, 2, 4, 8, 32)
]
