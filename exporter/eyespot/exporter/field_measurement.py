"""The effective receptive field of a network of the zoo, or of an entry of a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from eyespot.exporter.capture import find_gradient_node
from eyespot.exporter.effective_field import EffectiveField, effective_field
from eyespot.exporter.errors import CaptureError
from eyespot.exporter.gradient_graph import find_layers
from eyespot.exporter.inspect import entry_program, inspect_entry
from eyespot.exporter.layers import Layer, LayerTable, layer_table
from eyespot.exporter.pictures import MAX_PICTURES, read_pictures
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.exporter.rule_choice import choose_rule
from eyespot.exporter.tracing import trace, zoo_inputs
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo import create_model, model_entry, preprocessing_for

Progress = Callable[[str], None]
Weights = Mapping[str, Tensor]

# Random weights are drawn anew after so many inputs.
_INPUTS_PER_WEIGHTS = 5


def measure_zoo_model(
    name: str,
    *,
    weights: str | Path | None = None,
    input_size: int | None = None,
    images: Path | str | None = None,
    layer: str | None = None,
    samples: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> EffectiveField:
    """Measure a network of the zoo, on random inputs or on pictures.

    Args:
        name: Of the network.
        weights: As `create_model` takes them; without any they are drawn anew again and again.
        input_size: Height and width; the paper's if not told.
        images: A folder of pictures in place of random inputs.
        layer: Node of the map, or a module that ends in it; the last one if not told.
        samples: Gradients to average.
        seed: Of all that is random.
        progress: Told what is being done.

    Raises:
        ZooError: There is no such network, or it cannot be like that.
        ExportError: It cannot be traced, has no such map, or there are no pictures.
    """
    tell = progress or (lambda _: None)
    entry = model_entry(name)
    rule = None
    if images is not None:
        channels, height, width = (*entry.input_size, 1, 1)[:3]
        height, width = (height, width) if input_size is None else (input_size, input_size)
        own = preprocessing_for(name, weights)
        rule = choose_rule(None, own, channels=channels, height=height, width=width)

    def build(number: int) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            network = create_model(name, weights=weights, input_size=input_size)
        return network if rule is None else Preprocessed(network, rule).eval()

    inputs = zoo_inputs(entry, input_size=input_size)
    if rule is not None:
        inputs = (torch.zeros(1, *inputs[0].shape[2:], entry.input_size[0], dtype=torch.uint8),)
    _check_single([tuple(each.shape) for each in inputs], name)
    network = build(0)
    program = trace(network, *inputs)

    def drawn(number: int) -> Weights:
        if weights is not None or number < _INPUTS_PER_WEIGHTS:
            return network.state_dict()
        return build(number // _INPUTS_PER_WEIGHTS).state_dict()

    rows = _rows(inputs[0], images, rule, samples=samples, seed=seed)
    return _measure(program, layer_table(program), layer, rows, drawn, seed=seed, tell=tell)


def measure_entry(
    repository: Path | str,
    name: str,
    version: str | None = None,
    *,
    images: Path | str | None = None,
    layer: str | None = None,
    samples: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
) -> EffectiveField:
    """Measure an entry of a repository with its own weights; as `measure_zoo_model`.

    Raises:
        ExportError: There is no such entry, or it has no PyTorch original or no such map.
    """
    tell = progress or (lambda _: None)
    program = entry_program(repository, name, version)
    table = layer_table(program)
    _check_single(table.input_shapes, name)
    example = torch.zeros(table.input_shapes[0], dtype=_input_dtype(program))
    rule = inspect_entry(repository, name, version).preprocessing
    rows = _rows(example, images, rule, samples=samples, seed=seed)
    return _measure(program, table, layer, rows, lambda _: program.state_dict, seed=seed, tell=tell)


def find_map(program: ExportedProgram, table: LayerTable, name: str | None) -> Layer:
    """Find a map by its node, or by a module, whose last it is; the last of all if none is named.

    Raises:
        CaptureError: There is no map.
        LayerNameError: There is none of this name, and the nearest are said.
    """
    if name is None and table.last_map is not None:
        return table.last_map
    maps = {layer.node: layer for layer in table.maps}
    if name is None or not maps:
        raise CaptureError("the network has no map of more than one unit")
    if name in maps:  # it may be the output, which saliency does not take as a layer
        return maps[name]
    (node,) = find_layers(program, [name], gradient_node=find_gradient_node(program))
    if node not in maps:
        raise CaptureError(f"{name} gives a map of one unit, which sees all that it can")
    return maps[node]


def _measure(
    program: ExportedProgram,
    table: LayerTable,
    name: str | None,
    rows: list[Tensor],
    weights: Callable[[int], Weights],
    *,
    seed: int,
    tell: Progress,
) -> EffectiveField:
    layer = find_map(program, table, name)

    def samples() -> Iterator[tuple[Weights, Tensor]]:
        values = weights(0)
        for number, row in enumerate(rows):
            if number % _INPUTS_PER_WEIGHTS == 0:
                tell(f"gradient {number + 1} of {len(rows)}")
                values = weights(number)
            yield values, row

    return effective_field(program, layer, samples(), seed=seed)


def _rows(
    example: Tensor,
    images: Path | str | None,
    rule: PreprocessingRule | None,
    *,
    samples: int,
    seed: int,
) -> list[Tensor]:
    """Make rows like an example: of pictures if there are any, else at random."""
    if images is not None:
        height, width = example.shape[1:3]
        pictures = read_pictures(Path(images), rule, shape=(height, width), batch_size=MAX_PICTURES)
        pixels = torch.from_numpy(pictures.batches[0].inputs[0])  # (N, H, W, C)
        return [row[None] for row in pixels[:samples]]  # (H, W, C) -> (1, H, W, C)
    generator = torch.Generator().manual_seed(seed)
    if example.is_floating_point():
        return [torch.randn(example.shape, generator=generator) for _ in range(samples)]
    return [
        torch.randint(0, 256, example.shape, generator=generator, dtype=torch.uint8)
        for _ in range(samples)
    ]


def _input_dtype(program: ExportedProgram) -> torch.dtype:
    (name,) = program.graph_signature.user_inputs
    node = next(node for node in program.graph.nodes if node.name == name)
    dtype: torch.dtype = node.meta["val"].dtype
    return dtype


def _check_single(shapes: Sequence[tuple[int, ...]], name: str) -> None:
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise CaptureError(
            f"{name} takes {', '.join(map(str, shapes))}: the effective field is measured of "
            "networks that take one picture"
        )
