"""A model of the repository as a network to train on: nothing of it is unpickled.

A network of the zoo is built anew and takes the weights of the captured program. Of any other
network the program is all there is, and it becomes a module: its weights can be trained, its
batch norms and dropouts stay as they were captured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.fx.graph import CodeGen

from eyespot.exporter.capture import silenced
from eyespot.exporter.errors import OriginalError
from eyespot.exporter.original_file import read_program
from eyespot.transfer.errors import BackboneError
from eyespot.v1.manifest import (
    MANIFEST_FILE,
    ORIGINAL_FILE,
    Manifest,
    ManifestError,
    Provenance,
    read_manifest,
)
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.repository_folders import list_versions
from eyespot.v1.sha256 import sha256_of
from eyespot.zoo import ArchitectureError, create_model, list_models, set_transform_input

CAPTURED_HEAD = "head"
"""Name of the head in a network that is a captured program."""

_ATEN = torch.ops.aten
_PREFIX = "network."  # of the network within what was captured together with its preprocessing
_NORMALISING = (
    _ATEN.to.dtype,
    _ATEN.permute.default,
    _ATEN.div.Tensor,
    _ATEN.sub.Tensor,
    _ATEN.div.Tensor,
)


@dataclass(frozen=True, eq=False)
class ExportedNetwork:
    """A network out of a model repository.

    Attributes:
        network: From normalised pictures (B, C, H, W) to logits (B, K).
        head: Name of its head, where it is known.
        rule: Its own; None for a model that takes no pictures.
        size: Of one input, (C, H, W).
        provenance: Where its weights come from.
    """

    network: nn.Module
    head: str | None
    rule: PreprocessingRule | None
    size: tuple[int, int, int]
    provenance: Provenance


def load_exported(path: Path) -> ExportedNetwork:
    """Load the network of `REPOSITORY/MODEL`, its latest version, or `REPOSITORY/MODEL/VERSION`.

    Raises:
        BackboneError: There is no such model, it is no classifier of pictures of one size, its
            files are damaged, or its program cannot be trained.
    """
    folder = _version_folder(path)
    try:
        manifest = read_manifest(folder / MANIFEST_FILE)
        program = read_program(folder / ORIGINAL_FILE)
    except (ManifestError, OriginalError) as error:
        raise BackboneError(
            f"{path} cannot be a backbone: {error}; a model that `eyespot export` wrote is expected"
        ) from error
    size = _input_size(manifest, path)
    network = _zoo_network(manifest, program, size)
    told = manifest.provenance
    provenance = told._replace(
        weights=f"{manifest.model_name} {manifest.model_version} of the repository",
        weights_sha256=sha256_of(folder / ORIGINAL_FILE),
        training=_training(told),
    )
    if network is not None:
        return ExportedNetwork(network, None, manifest.preprocessing, size, provenance)
    captured = _captured_network(program, has_rule=manifest.preprocessing is not None, path=path)
    return ExportedNetwork(captured, CAPTURED_HEAD, manifest.preprocessing, size, provenance)


def _training(told: Provenance) -> dict[str, object]:
    """Keep what is known of the weights' own past under the name that they went by."""
    return {**told.training, "weights": told.weights} if told.weights else dict(told.training)


def _version_folder(path: Path) -> Path:
    if (path / MANIFEST_FILE).is_file():
        return path
    versions = list_versions(path)
    if not versions:
        raise BackboneError(
            f"{path} is neither a network of the zoo nor a model of a repository "
            "(REPOSITORY/MODEL); `eyespot models` lists the networks"
        )
    return path / versions[-1]


def _input_size(manifest: Manifest, path: Path) -> tuple[int, int, int]:
    """Tell (C, H, W), whether the graph takes pixels or what the network takes."""
    shape = manifest.inputs[0].shape
    is_one = len(manifest.inputs) == len(manifest.outputs) == 1
    sizes = [size for size in shape[1:] if isinstance(size, int)]
    if manifest.task != "classification" or not is_one or len(sizes) != 3:
        raise BackboneError(
            f"{path} cannot be a backbone: it is a model for {manifest.task} of inputs of shape "
            f"{list(shape)}, expected is classification of pictures of one size"
        )
    first, second, third = sizes
    return (first, second, third) if manifest.preprocessing is None else (third, first, second)


def _zoo_network(
    manifest: Manifest, program: ExportedProgram, size: tuple[int, int, int]
) -> nn.Module | None:
    """Build the network of the zoo that was captured; None where it was another of that name."""
    name = manifest.provenance.architecture
    if name not in list_models() or size[1] != size[2]:
        return None
    state = {key.removeprefix(_PREFIX): value for key, value in program.state_dict.items()}
    if manifest.preprocessing is not None:
        state = {key: value for key, value in state.items() if key not in ("mean", "std")}
    classes = manifest.outputs[0].shape[-1]
    assert isinstance(classes, int)
    try:
        network = create_model(name, num_classes=classes, in_channels=size[0], input_size=size[1])
    except ArchitectureError:
        return None
    own = network.state_dict()
    if {key: value.shape for key, value in own.items()} != {
        key: value.shape for key, value in state.items()
    }:
        return None
    network.load_state_dict(state)
    set_transform_input(network, manifest.provenance.transform_input)
    return network


def _captured_network(program: ExportedProgram, *, has_rule: bool, path: Path) -> nn.Module:
    with silenced():
        captured = program.module()
    graph = captured.graph
    (given,) = [node for node in graph.nodes if node.op == "placeholder"]
    if has_rule:
        _cut_normalisation(given, path)
    last = _last_layer(graph)
    if last is None:
        raise BackboneError(
            f"{path} cannot be a backbone: the last layer of its captured program is neither "
            "linear nor a 1x1 convolution"
        )
    captured.add_submodule(CAPTURED_HEAD, _as_layer(last, captured))
    with graph.inserting_after(last):
        call = graph.call_module(CAPTURED_HEAD, (last.args[0],))
    last.replace_all_uses_with(call)
    graph.output_node().args = (graph.output_node().args[0][0],)  # type: ignore[index]
    graph.set_codegen(CodeGen())  # one tensor in, one tensor out
    graph.eliminate_dead_code()
    # A module of our own: the program's refuses to be put in train or eval mode.
    return fx.GraphModule(captured, graph).eval()


def _cut_normalisation(given: fx.Node, path: Path) -> None:
    """Let the network begin behind the scaling and normalising of the pixels."""
    node = given
    for operator in _NORMALISING:
        (node,) = node.users if len(node.users) == 1 else (given,)
        if node.target is not operator:
            raise BackboneError(
                f"{path} cannot be a backbone: its program does not begin as `eyespot export` "
                "begins one"
            )
    node.replace_all_uses_with(given)


def _last_layer(graph: fx.Graph) -> fx.Node | None:
    """Walk back from the output to the first operator that has weights, if it may be a head."""
    steps = list(graph.output_node().all_input_nodes)
    while steps:
        for step in steps:
            if any(source.op == "get_attr" for source in step.all_input_nodes):
                return step if _may_be_head(step) else None
        steps = [source for step in steps for source in step.all_input_nodes]
    return None


def _may_be_head(node: fx.Node) -> bool:
    if node.target is _ATEN.linear.default:
        return True
    return node.target is _ATEN.conv2d.default and tuple(
        node.args[1].meta["val"].shape[2:]  # type: ignore[union-attr]
    ) == (1, 1)


def _as_layer(node: fx.Node, owner: nn.Module) -> nn.Module:
    """Make a layer of an operator, with the operator's weights."""
    tensors = [
        owner.get_parameter(str(source.target))
        for source in node.args[1:3]
        if isinstance(source, fx.Node)
    ]
    rows, columns = tensors[0].shape[:2]
    has_bias = len(tensors) == 2
    layer = (
        nn.Linear(columns, rows, bias=has_bias)
        if node.target is _ATEN.linear.default
        else nn.Conv2d(columns, rows, 1, bias=has_bias)
    )
    for parameter, value in zip(layer.parameters(), tensors, strict=True):
        parameter.data.copy_(value.data)
    return layer
