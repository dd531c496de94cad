"""The head of a classifier: found, and replaced by a fresh one for other classes.

The head is the last layer with weights on the way to the logits. It is found by asking the
gradient: the way back from the logits meets the weights of the head first. Nothing is computed
for that: on the meta device there are only shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eyespot.exporter.capture import held_in_eval
from eyespot.transfer.errors import HeadError
from eyespot.zoo.lenet5 import EuclideanOutput

# Heads that serve training alone, as torchvision's GoogLeNet and Inception have them.
_AUXILIARY = ("aux1", "aux2", "AuxLogits")
# Logits begin almost alike, and the loss at that of a guess.
_SMALL = 0.01
# What turns a weight about before it is used.
_VIEWS = ("TBackward0", "TransposeBackward0", "PermuteBackward0", "ViewBackward0")
_SHOWN = 5


@dataclass(frozen=True)
class Head:
    """Where the classifier of a network is.

    Attributes:
        name: Dotted, as `get_submodule` takes it.
        kind: What it is, in words.
        classes: Logits that it gives.
        is_last: Nothing comes behind it: its output is the network's.
    """

    name: str
    kind: str
    classes: int
    is_last: bool


def find_head(network: nn.Module, sample_size: Sequence[int], *, name: str | None = None) -> Head:
    """Find the classifier of a network, which stays as it is.

    Args:
        network: From pictures (B, C, H, W) to logits (B, K).
        sample_size: Of one input: (C, H, W).
        name: Of the head, where it is known.

    Raises:
        HeadError: There is no layer of that name, the network gives no logits, or its last layer
            is none that can be replaced.
    """
    if name is not None:
        _classes(_layer(network, name), name)
    trace = _trace(network, sample_size)
    found = name or _last_layer(network, trace)
    layer = _layer(network, found)
    classes, given = _classes(layer, found), trace.logits.shape[1]
    if name is None and classes != given:
        raise HeadError(
            f"the last layer with weights, {found}, gives {classes} values and the network {given} "
            "logits: name the head (--head)"
        )
    calls = trace.calls.get(found, [])
    if len(calls) != 1:
        raise HeadError(
            f"{found} is called {len(calls)} times on the way to the logits: a head is called once"
        )
    output, version = calls[0]
    is_last = output is trace.logits and output._version == version
    return Head(found, _kind(layer), classes, is_last)


def replace_head(network: nn.Module, head: str, num_classes: int, *, seed: int = 0) -> nn.Module:
    """Put a fresh layer of the same kind in the place of the head, and give it.

    A linear layer or a 1x1 convolution begins with small weights and no bias; a convolution's
    are positive, so that a rectifier behind it, as in Network in Network, lets each class
    through. LeNet-5's radial basis functions get new codes which, unlike the paper's at first,
    are learnt: there is nothing else in them that could be.

    Args:
        network: Changed in this one place.
        head: Dotted name.
        num_classes: Logits of the new head; 1 for a single probability.
        seed: Of its weights.

    Raises:
        HeadError: There is no such layer, or it is none that can be replaced.
    """
    if num_classes < 1:
        raise HeadError(f"a head needs one class at least, found {num_classes}")
    old = _layer(network, head)
    _classes(old, head)
    new = _fresh(old, num_classes, torch.Generator("cpu").manual_seed(seed)).train(old.training)
    parent, _, child = head.rpartition(".")
    setattr(network.get_submodule(parent), child, new)
    return new


def drop_auxiliary_heads(network: nn.Module) -> tuple[str, ...]:
    """Take away heads that serve training alone (GoogLeNet's, Inception's), and name them."""
    if not hasattr(network, "aux_logits"):
        return ()
    found = (name for name in _AUXILIARY if getattr(network, name, None) is not None)
    dropped = tuple(found)
    for name in dropped:
        setattr(network, name, None)
    network.aux_logits = False  # type: ignore[assignment]
    return dropped


@dataclass(frozen=True, eq=False)
class _Trace:
    """How the logits came about.

    Attributes:
        logits: (2, K), on the meta device, with their way back.
        weights: Names by identity.
        calls: What each layer that may be a head gave, and how often that had been written to.
    """

    logits: Tensor
    weights: dict[int, str]
    calls: dict[str, list[tuple[Tensor, int]]] = field(default_factory=dict)


def _trace(network: nn.Module, sample_size: Sequence[int]) -> _Trace:
    parameters = {name: _stand_in(value) for name, value in network.named_parameters()}
    buffers = {name: value.to("meta") for name, value in network.named_buffers()}
    sample = torch.empty((2, *sample_size), device="meta")
    calls: dict[str, list[tuple[Tensor, int]]] = {}
    with held_in_eval(network), _noting_calls(network, calls), torch.enable_grad():
        try:
            logits = torch.func.functional_call(network, {**parameters, **buffers}, (sample,))
        except Exception as error:  # whatever the module's own code raises
            reason = next(iter(str(error).splitlines()), repr(error))
            raise HeadError(
                f"{type(network).__name__} cannot be followed from an input of "
                f"{'x'.join(map(str, sample_size))} to its logits: {reason}"
            ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise HeadError(
            f"{type(network).__name__} gives {found}, a classifier gives logits (batch, classes)"
        )
    return _Trace(logits, {id(value): name for name, value in parameters.items()}, calls)


def _stand_in(value: Tensor) -> Tensor:
    return value.detach().to("meta").requires_grad_(value.is_floating_point())


@contextmanager
def _noting_calls(network: nn.Module, calls: dict[str, list[tuple[Tensor, int]]]) -> Iterator[None]:
    def note(name: str) -> Any:
        return lambda _layer, _inputs, output: calls.setdefault(name, []).append(
            (output, output._version)
        )

    hooks = [
        layer.register_forward_hook(note(name))
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | EuclideanOutput)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _last_layer(network: nn.Module, trace: _Trace) -> str:
    radial = [name for name, part in network.named_modules() if isinstance(part, EuclideanOutput)]
    if radial:
        return str(radial[-1])  # its codes are no parameters: no gradient leads to them
    nearest = _nearest_weights(trace)
    layers = sorted({name.rpartition(".")[0] for name in nearest})
    if len(layers) != 1:
        raise HeadError(
            f"no single layer gives the logits of {type(network).__name__}, found "
            f"{', '.join(sorted(nearest)) or 'none with weights'}: name the head (--head)"
        )
    return layers[0]


def _nearest_weights(trace: _Trace) -> list[str]:
    """Walk back from the logits, step by step, to the first operator that has weights."""
    steps: list[Any] = [trace.logits.grad_fn]
    seen: set[Any] = set()
    while steps:
        seen.update(steps)
        before = [there for step in steps if step for there, _ in step.next_functions if there]
        leaves = [leaf for there in before if (leaf := _leaf(there)) is not None]
        found = [trace.weights[id(leaf)] for leaf in leaves if id(leaf) in trace.weights]
        if found:
            return found
        steps = [there for there in dict.fromkeys(before) if there not in seen]
    return []


def _leaf(step: Any) -> Tensor | None:
    """Give the weight that a step of the way back leads to at once, if it does."""
    while step.name() in _VIEWS and step.next_functions[0][0] is not None:
        step = step.next_functions[0][0]
    leaf: Tensor | None = getattr(step, "variable", None)
    return leaf


def _layer(network: nn.Module, name: str) -> nn.Module:
    try:
        layer = network.get_submodule(name)
    except AttributeError:
        layer = network
    if layer is network:
        linear = [each for each, part in network.named_modules() if isinstance(part, nn.Linear)]
        raise HeadError(
            f"{type(network).__name__} has no layer {name!r} that could be replaced; its last "
            f"linear layers are {', '.join(linear[-_SHOWN:]) or 'none'}"
        )
    return layer


def _classes(layer: nn.Module, name: str) -> int:
    """Count the logits of a layer that can be replaced."""
    if isinstance(layer, nn.Linear):
        return layer.out_features
    if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1:
        return layer.out_channels
    if isinstance(layer, EuclideanOutput):
        return len(layer.codes)
    inside = [each for each, part in layer.named_modules() if isinstance(part, nn.Linear)]
    raise HeadError(
        f"{name} is a {type(layer).__name__}: a head is a linear layer or a 1x1 convolution"
        + (f"; is {name}.{inside[-1]} meant?" if inside else "")
    )


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, nn.Linear):
        return "linear layer"
    return "1x1 convolution" if isinstance(layer, nn.Conv2d) else "radial basis functions"


def _fresh(old: nn.Module, classes: int, generator: torch.Generator) -> nn.Module:
    if isinstance(old, EuclideanOutput):
        return _fresh_codes(old, classes)
    new: nn.Linear | nn.Conv2d
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None, device="cpu")
        weight = torch.randn(new.weight.shape, generator=generator)
    else:
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(old.in_channels, classes, 1, bias=old.bias is not None, device="cpu")
        weight = torch.randn(new.weight.shape, generator=generator).abs()
    with torch.no_grad():
        new.weight.copy_(weight * _SMALL)
        if new.bias is not None:
            new.bias.zero_()
    return new.to(old.weight.device, old.weight.dtype)


def _fresh_codes(old: EuclideanOutput, classes: int) -> EuclideanOutput:
    new = EuclideanOutput(classes)
    codes = new.codes.to(old.codes.device)
    del new.codes
    new.codes = nn.Parameter(codes)
    return new
