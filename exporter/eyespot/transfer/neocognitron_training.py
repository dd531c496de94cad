"""The neocognitron's training: planes win patterns without a teacher, then a read-out is fitted.

Fukushima, 1980: of the cells that look at one place, the one that answers most is strengthened,
and its whole plane with it. Two things differ from the paper. Layers learn one after the other,
where the paper's learn together. And while it learns, a layer is more selective than when it
recognises (two thresholds, after Fukushima and Tanigawa, 1996): patterns are told apart finely,
and new ones are still answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.transfer.errors import ExamplesError
from eyespot.transfer.examples import Examples
from eyespot.zoo import create_model
from eyespot.zoo.neocognitron import AMOUNTS, FIELD, INK, Neocognitron, SLayer

# r of S1, S2 and S3 while they learn.
_LEARNING_SELECTIVITIES = (4.0, 4.0, 6.0)
# An untrained plane wins wherever no trained one answers, however little.
_WEAK = 0.01
# S-cells of all planes in so many places side by side compete; in S3, all of them do.
_COLUMN = 5
_READOUT_STEPS = 200
_READOUT_DECAY = 1e-3


@dataclass(frozen=True, eq=False)
class TrainedNeocognitron:
    """A neocognitron that has seen patterns, and how well it does on those that it has not.

    Attributes:
        network: Takes ink (B, 1, 16, 16) from 0 to 1.
        accuracy: On the held-out examples.
        planes_used: How many planes of S1, S2 and S3 have won a pattern.
    """

    network: Neocognitron
    accuracy: float
    planes_used: tuple[int, ...]


def train_neocognitron(
    examples: Examples,
    *,
    held_out: Examples,
    seed: int,
    progress: Callable[[str], None] = lambda what: None,
) -> TrainedNeocognitron:
    """Show each picture once to each layer, then fit the read-out to the classes.

    Args:
        examples: Pictures of any size, bright ink on black; only the read-out sees the labels.
        held_out: Measured once, at the end.
        seed: Of the first weights and of the order of the pictures.
        progress: Told which layer learns.

    Raises:
        ExamplesError: The held-out examples have a class that the others have not.
    """
    num_classes = int(examples.labels.max()) + 1
    if held_out.labels.max() >= num_classes:
        raise ExamplesError(
            f"the held-out examples have class {held_out.labels.max()}, and the examples to learn "
            f"from have {num_classes} classes: the labels of both must mean the same"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_model("neocognitron", num_classes=num_classes)
        assert isinstance(network, Neocognitron)
        ink = _ink(examples)
        planes_used = _organise(network, ink, progress)
        progress("the read-out learns")
        _fit_readout(network, ink, torch.from_numpy(examples.labels))
    with torch.no_grad():
        is_right = network(_ink(held_out)).argmax(dim=1) == torch.from_numpy(held_out.labels)
    return TrainedNeocognitron(network, is_right.float().mean().item(), planes_used)


def representatives(s: Tensor, column: int) -> tuple[Tensor, Tensor]:
    """Choose the cells to strengthen: at most one of each plane.

    A candidate answers most in some column, that is, of all planes and `column` x `column`
    places; of a plane's candidates, the one that answers most stands for it.

    Args:
        s: S-cells (K, H, W) for one picture.
        column: Places on a side.

    Returns:
        Planes (N,), and the places of the chosen cells (N,), counted row by row.
    """
    strongest, plane = s.max(dim=0)  # (K, H, W) -> (H, W)
    _, places = functional.max_pool2d(
        strongest[None], column, stride=1, padding=column // 2, return_indices=True
    )  # (1, H, W) -> a place for each column
    is_candidate = torch.zeros(strongest.numel(), dtype=torch.bool)
    is_candidate[places.flatten()] = True
    is_candidate &= strongest.flatten() > 0
    is_own = plane.flatten() == torch.arange(len(s))[:, None]  # (K, H * W)
    answers = torch.where(is_candidate & is_own, strongest.flatten(), 0.0)
    best = answers.max(dim=1)  # -> (K,)
    chosen = torch.nonzero(best.values)[:, 0]
    return chosen, best.indices[chosen]


@torch.no_grad()
def _organise(
    network: Neocognitron, ink: Tensor, progress: Callable[[str], None]
) -> tuple[int, ...]:
    u, used = ink, []
    modules = ((network.s1, network.c1), (network.s2, network.c2), (network.s3, network.c3))
    for number, (s_layer, c_layer) in enumerate(modules):
        progress(f"S{number + 1} learns")
        recognition = s_layer.selectivity
        s_layer.selectivity = _LEARNING_SELECTIVITIES[number]
        _learn(s_layer, u, amount=AMOUNTS[number])
        s_layer.selectivity = recognition
        used.append(int((s_layer.b > 0).sum()))
        u = c_layer(s_layer(u))
    return tuple(used)


def _learn(layer: SLayer, u: Tensor, *, amount: float) -> None:
    """Show each picture once, in any order."""
    nn.init.uniform_(layer.a, 0, _WEAK / layer.a[0].numel())
    nn.init.zeros_(layer.b)
    for row in torch.randperm(len(u)):
        s = layer(u[row, None])[0]  # (K', H, W) -> (K, H', W')
        planes, places = representatives(s, _COLUMN)
        fields = functional.unfold(
            u[row, None], FIELD, padding=layer.padding
        )  # (1, K', H, W) -> (1, K' * 25, H' * W')
        patterns = fields[0, :, places].T.reshape(len(planes), *layer.a.shape[1:])
        layer.strengthen(planes, patterns, amount=amount)  # (N,), (N, K', 5, 5)


def _fit_readout(network: Neocognitron, ink: Tensor, labels: Tensor) -> None:
    """Fit by logistic regression, on features of one scale, which is folded in afterwards."""
    with torch.no_grad():
        features = network.features(ink)  # -> (N, 120)
    mean, std = features.mean(dim=0), features.std(dim=0) + torch.finfo(features.dtype).eps
    scaled = (features - mean) / std
    readout = nn.Linear(scaled.shape[1], network.readout.out_features)
    nn.init.zeros_(readout.weight)
    nn.init.zeros_(readout.bias)
    optimizer = torch.optim.LBFGS(
        readout.parameters(), max_iter=_READOUT_STEPS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        penalty = _READOUT_DECAY * (readout.weight**2).sum()
        total = functional.cross_entropy(readout(scaled), labels) + penalty
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        network.readout.weight.copy_(readout.weight / std)
        network.readout.bias.copy_(readout.bias - network.readout.weight @ mean)


def _ink(examples: Examples) -> Tensor:
    images = torch.from_numpy(examples.prepared(INK).images)
    return images.permute(0, 3, 1, 2) / 255  # (N, H, W, 1) -> (N, 1, 16, 16)
