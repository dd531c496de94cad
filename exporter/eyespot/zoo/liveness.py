"""Random weights that prove something: a signal through every layer, and no number by default.

A fresh network has batch norms that are the identity and, often, biases that are zero; a graph
that lost them would answer alike. So they are moved, and the layers are then measured in the order
in which a signal meets them, as in Mishkin and Matas, All You Need Is a Good Init, arXiv
1511.06422, ICLR 2016. Unlike there, nothing is orthogonal, one pass suffices, and a layer keeps
its weights where its signal is neither faint nor loud.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from eyespot.zoo.errors import DeadNetworkError

# Between these the signal of a layer is left as it is.
_FAINT, _LOUD = 0.1, 10.0
# The answers to different inputs must differ by this fraction of their scale: by ten times what
# parity tolerates.
_SPREAD = 1e-3
# What the moved numbers are drawn with, beside the signal's own mean and deviation.
_SHIFT = 0.1
_GAINS = (0.75, 1.25)
# Of batch norms, in deviations. Around 0 a rectifier lets half of a disturbance's square pass and
# a third of the signal's variance, so that each layer amplifies what was rounded by 1.2, and
# fifty without shortcuts by ten thousand. Around three quarters of a deviation it is 1.08.
_OFFSET = 0.75

# Of layers that add a bias to what is linear in their weights, and do nothing else.
_FORWARDS = {
    layer.forward
    for layer in (
        nn.Conv1d,
        nn.Conv2d,
        nn.Conv3d,
        nn.ConvTranspose1d,
        nn.ConvTranspose2d,
        nn.ConvTranspose3d,
        nn.Linear,
    )
}
_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm1d, nn.InstanceNorm2d)


def enliven(network: nn.Module, inputs: Sequence[Tensor], *, seed: int) -> None:
    """Move biases and norms off their defaults, and set them by what the network is shown.

    Only what can be trained is drawn anew, but for the running statistics of batch norms.
    A layer that computes with its weights in its own way keeps them.

    Args:
        network: In evaluation mode; changed in place.
        inputs: What its forward takes; of several rows, for their spread is measured.
        seed: Of all that is drawn.

    Raises:
        DeadNetworkError: It answers every input alike all the same, or not with numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        _move_constants(network, generator)
        with _adjusting(network, generator):
            network(*inputs)
        answers = network(*inputs)
    answers = (answers,) if isinstance(answers, Tensor) else answers
    for answer in answers:
        check_is_alive(answer)


def check_is_alive(answers: Tensor) -> float:
    """Give the spread of answers to different inputs, as a fraction of their scale.

    Args:
        answers: (B, ...) to inputs that differ.

    Raises:
        DeadNetworkError: It is too small for a comparison of answers to prove anything, or the
            answers are not finite.
    """
    if not answers.isfinite().all():
        raise DeadNetworkError("the network's answers are not finite: its signal explodes")
    scale = float(answers.abs().max())
    spread = float((answers.amax(0) - answers.amin(0)).max()) / scale if scale else 0.0
    if spread < _SPREAD:
        raise DeadNetworkError(
            f"the network's answers to different inputs differ by {spread:.2g} of their scale "
            f"{scale:.2g}, at least {_SPREAD:g} is expected: its signal dies"
        )
    return spread


def _move_constants(network: nn.Module, generator: torch.Generator) -> None:
    """Draw gains and offsets of norms, and biases that are all the same number."""
    for module in network.modules():
        for name, value in module.named_parameters(recurse=False):
            if not value.requires_grad:
                continue
            if isinstance(module, _NORMS) and name == "weight":
                value.uniform_(*_GAINS, generator=generator)
            elif name == "weight" and type(module).forward in _FORWARDS and _is_mostly_zero(value):
                # Such as an identity: a kernel that is shifted or stretched must show.
                noise = torch.randn(value.shape, generator=generator)
                value.add_(noise, alpha=_SHIFT * float(value.std()))
            elif "bias" in name and bool((value == value.flatten()[0]).all()):
                value.add_(torch.randn(value.shape, generator=generator), alpha=_SHIFT)
                if isinstance(module, _BatchNorm):
                    value.add_(_OFFSET)


def _is_mostly_zero(value: Tensor) -> bool:
    return float((value == 0).float().mean()) > 0.5


@contextmanager
def _adjusting(network: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Let each layer be adjusted the first time that a signal comes to it."""
    met: set[nn.Module] = set()

    def once(adjust: Callable[..., Any]) -> Callable[..., Any]:
        def hook(module: nn.Module, *signals: Any) -> Any:
            if module in met:
                return None
            met.add(module)
            return adjust(module, *signals, generator)

        return hook

    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, _BatchNorm) and module.track_running_stats:
                handle = module.register_forward_pre_hook(once(_set_statistics))
            elif type(module).forward in _FORWARDS:
                handle = module.register_forward_hook(once(_scale_weights))
            else:
                continue
            stack.callback(handle.remove)
        yield


def _set_statistics(
    norm: _BatchNorm, inputs: tuple[Tensor, ...], generator: torch.Generator
) -> None:
    """Set what a batch norm would have learnt from this signal, and a little beside."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    x = inputs[0].transpose(0, 1).flatten(1)  # (B, C, ...) -> (C, B * ...)
    variance, mean = torch.var_mean(x, 1, correction=0)
    # A channel that is silent in so few pictures is not so in others.
    variance = variance.clamp(min=max(0.01 * float(variance.mean()), norm.eps))
    shift = torch.randn(mean.shape, generator=generator) * _SHIFT
    norm.running_mean.copy_(mean + shift * variance.sqrt())
    norm.running_var.copy_(variance * torch.empty_like(mean).uniform_(*_GAINS, generator=generator))


def _scale_weights(
    layer: _ConvNd | nn.Linear, _: tuple[Tensor, ...], output: Tensor, generator: torch.Generator
) -> Tensor:
    """Bring a faint or loud signal to unit deviation, and draw the bias by the signal's."""
    bias = layer.bias
    shape = (-1,) if isinstance(layer, nn.Linear) else (-1, *[1] * len(layer.kernel_size))
    signal = output if bias is None else output - bias.view(shape)
    deviation = float(signal.std())
    if deviation > 0 and not _FAINT <= deviation <= _LOUD and layer.weight.requires_grad:
        layer.weight.div_(deviation)
        signal, deviation = signal / deviation, 1.0
    if bias is None:
        return signal
    if bias.requires_grad:
        bias.copy_(torch.randn(bias.shape, generator=generator) * (_SHIFT * deviation))
    return signal + bias.view(shape)
