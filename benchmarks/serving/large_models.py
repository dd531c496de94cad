"""Networks whose session is most of the work: what serving adds, and how fast it is at its best."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.in_process import InProcess, Pace
from benchmarks.serving.ratios import Bar, Ratio
from benchmarks.serving.stage import Measured, measure, staged

_CLIENTS = 8
_ROW_SHAPE = (3, 224, 224)
_CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Round:
    """One measurement of (a), (b) and (c)."""

    in_process: Pace
    bare: Measured
    served: Measured

    def cpu_against_sum(self) -> float:
        """CPU per image of (c), over (a) and (b) together."""
        without_us = self.in_process.cpu_seconds + self.bare.cpu_per_call
        return self.served.cpu_per_call / without_us

    def speed(self) -> float:
        """Images per second of (c), over (a)."""
        return self.served.load.calls_per_second * self.in_process.seconds

    def speed_against_what_is_left(self) -> float:
        """Images per second of (c), over what (a) could do beside the clients and (b).

        For each image (a) has all cores for so long; the clients and (b) take theirs from them.
        """
        others = self.served.load.cpu_seconds / self.served.load.calls + self.bare.cpu_per_call
        return self.served.load.calls_per_second * (self.in_process.seconds + others / _CORES)


def mobilenet_v2(rounds: int, folder: Path) -> list[Ratio]:
    """MobileNetV2: 400 images in each round."""
    measured = _measure("mobilenet_v2", 400, rounds, folder)
    name = f"MobileNetV2 FP32, {_CLIENTS} clients"
    return [
        Ratio(
            f"{name}: CPU per image, (c) / ((a) + (b))",
            tuple(each.cpu_against_sum() for each in measured),
            Bar(1.15),
        ),
        Ratio(
            f"{name}: images per second, (c) / (a)",
            tuple(each.speed() for each in measured),
            Bar(0.75, is_floor=True),
        ),
        Ratio(
            f"{name}: images per second, (c) / what (a) has left beside clients and (b)",
            tuple(each.speed_against_what_is_left() for each in measured),
            Bar(0.92, is_floor=True),
        ),
    ]


def resnet50(rounds: int, folder: Path) -> list[Ratio]:
    """ResNet-50: 100 images in each round."""
    measured = _measure("resnet50", 100, rounds, folder)
    return [
        Ratio(
            f"ResNet-50 FP32, {_CLIENTS} clients: CPU per image, (c) / ((a) + (b))",
            tuple(each.cpu_against_sum() for each in measured),
            Bar(1.05),
        )
    ]


def _measure(model_name: str, calls: int, rounds: int, folder: Path) -> list[Round]:
    with staged(model_name, _ROW_SHAPE, folder) as stage:
        in_process = InProcess(stage.model_file, stage.row, images=calls)
        print(f"{model_name}: (a) is fastest with {in_process.fastest}", flush=True)
        print(f"{model_name}: (a) is most frugal with {in_process.most_frugal}", flush=True)
        for server in (stage.bare, stage.served):
            measure(server, stage.request, clients=_CLIENTS, calls=calls // 4)
        return [
            Round(
                in_process.measure(),
                measure(stage.bare, stage.request, clients=_CLIENTS, calls=calls),
                measure(stage.served, stage.request, clients=_CLIENTS, calls=calls),
            )
            for _ in range(rounds)
        ]
