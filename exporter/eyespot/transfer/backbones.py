"""A backbone: a trained network, its head replaced by a fresh one for the classes to be learnt."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from eyespot.exporter.preprocessed import Preprocessed
from eyespot.exporter.rule_choice import fit_rule
from eyespot.exporter.zoo_export import input_size_of
from eyespot.transfer.errors import BackboneError
from eyespot.transfer.exported_backbones import load_exported
from eyespot.transfer.heads import Head, drop_auxiliary_heads, find_head, replace_head
from eyespot.transfer.tails import tail_of
from eyespot.transfer.zoo_training import training_rule
from eyespot.v1.manifest import Provenance
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo import (
    WeightsOrigin,
    create_model,
    list_models,
    load_weights,
    model_entry,
    preprocessing_for,
)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network to fine-tune.

    Attributes:
        network: From normalised pictures (B, C, H, W) to logits (B, K); in eval mode.
        head: Its fresh head.
        tail: From what the head gives to the logits; most heads give the logits themselves.
        rule: From a picture to the pixels that `module` takes.
        provenance: Architecture, paper, and where the weights come from, with their SHA-256.
        missing: Tensors of the network that the weights did not fill: those of the fresh head.
        unexpected: Tensors of the weights that the network has no use for: those of the old head.
        dropped: Heads for training alone that were taken away.
    """

    network: nn.Module
    head: Head
    tail: nn.Module
    rule: PreprocessingRule
    provenance: Provenance
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        told = self.provenance
        return (
            f"Backbone({told.architecture}, {told.weights}, head {self.head.name} for "
            f"{self.head.classes} classes)"
        )

    @property
    def head_layer(self) -> nn.Module:
        """The head itself."""
        return self.network.get_submodule(self.head.name)

    @property
    def module(self) -> nn.Module:
        """The network behind its normalisation: it takes UINT8 pixels (B, H, W, C)."""
        module = Preprocessed(self.network, self.rule)
        return module.to(next(self.network.parameters()).device).train(self.network.training)


def load_backbone(
    source: str | Path | nn.Module,
    *,
    num_classes: int,
    weights: str | Path | None = None,
    head: str | None = None,
    rule: PreprocessingRule | None = None,
    input_size: int | None = None,
    in_channels: int | None = None,
    seed: int = 0,
) -> Backbone:
    """Load a trained network, and put a fresh head in the place of its own.

    Args:
        source: Name of a network of the zoo; a model of a repository, as `REPOSITORY/MODEL`, with
            its weights; or a module, which is changed in place.
        num_classes: Logits of the new head; 1 for a single probability.
        weights: A state_dict file (safetensors, or one that `torch.save` wrote), or a name under
            which torchvision publishes them. Their head may have any number of classes: it is
            not taken. Without any they are random, by `seed`, or the module's own.
        head: Dotted name of the head, where it is not the last layer with weights.
        rule: From a picture to pixels; that of the weights or of the network, fitted to the
            input size, if not told. A module has none of its own.
        input_size: Height and width of the input; the network's if not told.
        in_channels: Of the input; the network's if not told.
        seed: Of the new head, and of random weights.

    Raises:
        BackboneError: There is no such network, or it is none for pictures of one size.
        ExamplesError: It is a network of the zoo for something else than classes of pictures.
        WeightsError: The weights cannot be had or belong to another network; it lists how.
        HeadError: The head is not found, or cannot be replaced.
        ZooError: The network cannot be built so.
        ExportError: The rule cannot be had for such an input.
    """
    size = {"in_channels": in_channels, "input_size": input_size}
    if isinstance(source, nn.Module):
        return _from_module(source, weights, head, rule, num_classes=num_classes, seed=seed)
    if str(source) in list_models():
        return _from_zoo(
            str(source), weights, head, rule, num_classes=num_classes, seed=seed, **size
        )
    _refuse_with_model(source, weights=weights, **size)
    return _from_repository(Path(source), head, rule, num_classes=num_classes, seed=seed)


def _from_zoo(
    name: str,
    weights: str | Path | None,
    head: str | None,
    rule: PreprocessingRule | None,
    *,
    num_classes: int,
    seed: int,
    in_channels: int | None,
    input_size: int | None,
) -> Backbone:
    entry = model_entry(name)
    sample_size = input_size_of(entry, in_channels=in_channels, input_size=input_size)
    rule = rule or _zoo_rule(name, weights, sample_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = create_model(
            name, num_classes=num_classes, in_channels=in_channels, input_size=input_size
        )
    found = find_head(network, sample_size, name=head)
    provenance = Provenance(
        architecture=entry.name,
        paper=entry.paper,
        year=entry.year,
        weights="random",
        training={"seed": seed},
    )
    unexpected: tuple[str, ...] = ()
    if weights is not None:
        origin = load_weights(network, weights, without=found.name)
        unexpected = origin.unexpected
        provenance = provenance._replace(
            weights=origin.source,
            weights_sha256=origin.sha256,
            training=_training(origin),
            transform_input=getattr(network, "transform_input", None),
        )
    return _finish(network, found, rule, provenance, sample_size, num_classes, seed, unexpected)


def _zoo_rule(
    name: str, weights: str | Path | None, sample_size: Sequence[int]
) -> PreprocessingRule:
    training_rule(name)  # refuses what does not tell classes of pictures apart
    own = preprocessing_for(name, weights)
    assert own is not None
    channels, height, width = sample_size
    return fit_rule(own, channels=channels, height=height, width=width)


def _from_module(
    network: nn.Module,
    weights: str | Path | None,
    head: str | None,
    rule: PreprocessingRule | None,
    *,
    num_classes: int,
    seed: int,
) -> Backbone:
    if rule is None or rule.size is None:
        raise BackboneError(
            "a module does not tell which pictures it takes: give a rule that makes them of one "
            "size"
        )
    name = type(network).__name__
    dropped = drop_auxiliary_heads(network)
    sample_size = (rule.channels, *rule.size)
    found = find_head(network, sample_size, name=head)
    provenance = Provenance(architecture=name, weights="the module's own")
    unexpected = None
    if weights is not None:
        origin = load_weights(network, weights, without=found.name)
        provenance = Provenance(name, weights=origin.source, weights_sha256=origin.sha256)
        unexpected = origin.unexpected
    return _finish(
        network, found, rule, provenance, sample_size, num_classes, seed, unexpected, dropped
    )


def _from_repository(
    path: Path, head: str | None, rule: PreprocessingRule | None, *, num_classes: int, seed: int
) -> Backbone:
    exported = load_exported(path)
    rule = rule or exported.rule
    if rule is None:
        raise BackboneError(f"{path} has no preprocessing rule: give one that fits the network")
    found = find_head(exported.network, exported.size, name=head or exported.head)
    return _finish(
        exported.network, found, rule, exported.provenance, exported.size, num_classes, seed
    )


def _finish(
    network: nn.Module,
    found: Head,
    rule: PreprocessingRule,
    provenance: Provenance,
    sample_size: Sequence[int],
    num_classes: int,
    seed: int,
    unexpected: tuple[str, ...] | None = None,
    dropped: tuple[str, ...] = (),
) -> Backbone:
    """Put the fresh head in, and tell what of the weights was of no use."""
    if (rule.channels, rule.size) != (sample_size[0], tuple(sample_size[1:])):
        raise BackboneError(
            f"the rule gives pictures of {rule.channels} channels and size {rule.size}, the "
            f"network takes {sample_size[0]} and {tuple(sample_size[1:])}: change the rule, or "
            "in_channels and input_size (--channels, --input-size)"
        )
    old = tuple(f"{found.name}.{name}" for name in network.get_submodule(found.name).state_dict())
    layer = replace_head(network, found.name, num_classes, seed=seed)
    fresh = tuple(f"{found.name}.{name}" for name in layer.state_dict())
    head = dataclasses.replace(found, classes=num_classes)
    return Backbone(
        network=network.eval(),
        head=head,
        tail=tail_of(network, head, sample_size),
        rule=rule,
        provenance=provenance,
        missing=fresh,
        unexpected=old if unexpected is None else unexpected,
        dropped=dropped,
    )


def _training(origin: WeightsOrigin) -> dict[str, str]:
    """Tell what the file of weights tells of its past, but for its classes."""
    return {name: note for name, note in origin.training.items() if name != "labels"}


def _refuse_with_model(source: str | Path, **options: object) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given and Path(source).is_dir():
        raise BackboneError(
            f"{source} is a model of a repository, with its own weights and input: leave out "
            f"{', '.join(given)}"
        )
