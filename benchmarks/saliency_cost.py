"""`python -m benchmarks.saliency_cost`: what an explanation costs, in forward passes and by captum.

In each round everything runs once, one after the other and every second time backwards; the
ratios are of one round, and their medians are told. Only ratios are printed: absolute times mean
nothing on shared machines. One thread, so that neither side waits for the other's, and processor
time, which does not count who waits for the processor. All of it in a thread that is not the
first, as in the server: there large tensors come from the system and go back to it each time, and
their page faults are a part of the cost.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from captum.attr import DeepLift, GuidedBackprop, IntegratedGradients, LayerGradCam, Saliency
from torch import nn

from eyespot.exporter.capture import capture, find_gradient_node
from eyespot.saliency import Objective, Targets, find_method
from eyespot.saliency.torch_backend import TorchBackend
from eyespot.zoo import create_model

N_STEPS = 50
Work = Callable[[], object]


def main() -> None:
    """Measure in turn, and print each ratio with its bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="resnet18", choices=("resnet18", "vgg16"))
    parser.add_argument("--size", type=int, default=224, help="height and width of the pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="ratios whose names contain it")
    arguments = parser.parse_args()
    works = _works(arguments.model, arguments.size)
    asked = [
        (over, under, factor, bar)
        for over, under, factor, bar in RATIOS
        if over in works and under in works and arguments.only in f"{over} / {under}"
    ]
    if not asked:
        parser.error(f"no ratio has a name with {arguments.only!r} in it")
    used = {name for over, under, *_ in asked for name in (over, under)}
    works = {name: work for name, work in works.items() if name in used}
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as thread:
        rounds = thread.submit(_measure, works, arguments.rounds).result()
    print(f"{arguments.model}, {arguments.size} x {arguments.size}, {arguments.rounds} rounds")
    for over, under, factor, bar in asked:
        ratios = [each[over] / each[under] / factor for each in rounds]
        told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{over} / {under}: {told}, at most {bar}")


def _measure(works: Mapping[str, Work], rounds: int) -> list[dict[str, float]]:
    """The seconds of each work in each round."""
    for work in works.values():
        work()  # compiled graphs are not what is measured
    return [
        {name: _seconds(works[name]) for name in sorted(works, reverse=number % 2 == 1)}
        for number in range(rounds)
    ]


# What is divided by what, by which number more, and the bar.
RATIOS = (
    ("saliency of 1", "forward of 1", 1, 2.5),
    ("saliency of 8", "forward of 8", 1, 2.5),
    ("guided of 8", "saliency of 8", 1, 1.1),
    ("integrated of 1", "saliency of 10", N_STEPS / 10, 1.15),
    ("saliency of 8", "captum saliency of 8", 1, 1.0),
    ("guided of 8", "captum guided of 8", 1, 1.0),
    ("grad-cam of 8", "captum grad-cam of 8", 1, 1.0),
    ("deep-lift of 4", "captum deep-lift of 4", 1, 1.0),
    ("integrated of 1", "captum integrated of 1 by 5", 1, 1.0),
    ("integrated of 1", "captum integrated of 1 by 10", 1, 1.0),
    ("integrated of 1", "captum integrated of 1 by 25", 1, 1.0),
    ("integrated of 1", "captum integrated of 1 by 50", 1, 1.0),
)


def _works(name: str, size: int) -> dict[str, Work]:
    torch.manual_seed(0)
    network = create_model(name, num_classes=1000, input_size=size).eval()
    program = capture(network, torch.zeros(1, 3, size, size))
    gradient_node = find_gradient_node(program)
    assert gradient_node is not None
    backend = TorchBackend(program, gradient_node=gradient_node, num_threads=1)
    x = np.random.default_rng(0).standard_normal((10, 3, size, size)).astype(np.float32)

    def ours(method: str, rows: int, **parameters: int) -> Work:
        objective = Objective(Targets(np.arange(rows)))
        return lambda: find_method(method).explain(backend, x[:rows], objective, **parameters)

    works: dict[str, Work] = {
        "forward of 1": lambda: _forward(network, x[:1]),
        "forward of 8": lambda: _forward(network, x[:8]),
        "saliency of 1": ours("saliency", 1),
        "saliency of 8": ours("saliency", 8),
        "saliency of 10": ours("saliency", 10),
        "guided of 8": ours("guided_backprop", 8),
        "grad-cam of 8": ours("grad_cam", 8),
        "deep-lift of 4": ours("deep_lift", 4),
        "integrated of 1": ours("integrated_gradients", 1, n_steps=N_STEPS),
    }
    return works | _captum(name, network, x)


def _captum(name: str, network: nn.Module, x: np.ndarray) -> dict[str, Work]:
    """The same by captum, where it can: reused rectifiers are beyond its DeepLift."""
    layer = network.layer4 if name == "resnet18" else network.features[29]  # type: ignore[index]
    assert isinstance(layer, nn.Module)

    def given(rows: int) -> torch.Tensor:
        return torch.from_numpy(x[:rows].copy()).requires_grad_()

    def integrated(size: int) -> Work:
        return lambda: IntegratedGradients(network).attribute(
            given(1),
            target=[0],
            n_steps=N_STEPS,
            internal_batch_size=size,
            return_convergence_delta=True,  # as ours always do
        )

    eight = list(range(8))
    works: dict[str, Work] = {
        "captum saliency of 8": lambda: Saliency(network).attribute(given(8), target=eight),
        "captum guided of 8": lambda: GuidedBackprop(network).attribute(given(8), target=eight),
        "captum grad-cam of 8": lambda: LayerGradCam(network, layer).attribute(
            given(8), target=eight
        ),
        **{f"captum integrated of 1 by {size}": integrated(size) for size in (5, 10, 25, 50)},
    }
    if name == "vgg16":
        works["captum deep-lift of 4"] = lambda: DeepLift(network).attribute(
            given(4), target=eight[:4]
        )
    return works


def _forward(network: nn.Module, x: np.ndarray) -> None:
    with torch.no_grad():
        network(torch.from_numpy(x))


def _seconds(work: Work) -> float:
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum's, about its hooks
        work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
