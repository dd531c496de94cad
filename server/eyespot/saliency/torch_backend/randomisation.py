"""The layers of a captured program by their weights, and weights put in random order."""

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from eyespot.saliency.errors import LayerError

_OF_A_MODULE = {"weight", "bias"}


@dataclass(frozen=True)
class WeightLayer:
    """What is randomised together: a matrix or kernel, its bias, and the norm behind it."""

    name: str  # of the module that holds the matrix or kernel
    places: tuple[int, ...]  # of its parameters, among all that the graph takes


def weight_layers(program: ExportedProgram) -> tuple[WeightLayer, ...]:
    """Every layer, in the order of the computation.

    Parameters alone are weights: the statistics of a batch norm and the constants of a
    preprocessing are buffers, and belong to no layer. Vectors without a matrix, such as those
    of a norm, join the layer before them.
    """
    specs = program.graph_signature.input_specs
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    lifted = [
        (spec, node)
        for spec, node in zip(specs, placeholders, strict=True)
        if spec.kind is not InputKind.USER_INPUT
    ]
    modules: dict[str, list[int]] = {}
    last_uses: dict[str, fx.Node] = {}
    for place, (spec, node) in enumerate(lifted):
        if spec.kind is InputKind.PARAMETER and node.users:
            name = _module_of(str(spec.target))
            modules.setdefault(name, []).append(place)
            last_uses[name] = max((*node.users, last_uses.get(name, node)))
    layers: list[WeightLayer] = []
    for name in sorted(modules, key=last_uses.__getitem__):
        places = tuple(modules[name])
        is_vector = all(lifted[place][1].meta["val"].ndim < 2 for place in places)
        if is_vector and layers:
            layers[-1] = WeightLayer(layers[-1].name, layers[-1].places + places)
        else:
            layers.append(WeightLayer(name, places))
    return tuple(layers)


def randomise(
    values: Sequence[Tensor],
    layers: Sequence[WeightLayer],
    names: Collection[str],
    *,
    seed: int,
) -> list[Tensor]:
    """Weights of which some layers have their numbers in random order; the given ones stay.

    A layer gets the same order whichever layers are randomised beside it.

    Raises:
        LayerError: a name is no layer's.
    """
    known = {layer.name: layer for layer in layers}
    found = list(values)
    for name in names:
        if name not in known:
            raise LayerError(f"no layer {name!r} has weights; there are {', '.join(known)}")
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        for place in known[name].places:
            value = values[place]
            order = torch.from_numpy(random.permutation(value.numel()))
            found[place] = value.flatten()[order].view(value.shape)
    return found


def nudge(values: Sequence[Tensor], *, seed: int) -> list[Tensor]:
    """Weights that each are the next larger or smaller number that there is, at random."""
    random = torch.Generator().manual_seed(seed)
    return [
        torch.nextafter(value, value.new_tensor(torch.inf) * _signs(value, random))
        if value.is_floating_point()
        else value
        for value in values
    ]


def _signs(value: Tensor, random: torch.Generator) -> Tensor:
    return torch.randint(0, 2, value.shape, generator=random).to(value.device) * 2 - 1


def _module_of(parameter: str) -> str:
    module, _, last = parameter.rpartition(".")
    return module if module and last in _OF_A_MODULE else parameter
