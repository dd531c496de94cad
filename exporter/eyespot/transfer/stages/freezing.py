"""What may change while a network is fine-tuned, and what may not.

Frozen means frozen: a frozen part has no gradient and stays in evaluation mode. Batch norm keeps
the statistics that it came with everywhere, in the blocks that are trained too: a handful of new
pictures tells them worse than the thousands that it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyespot.transfer.stages.blocks import Block


@contextmanager
def only_training(
    network: nn.Module, blocks: Sequence[Block], *, head: str
) -> Iterator[dict[str, nn.Parameter]]:
    """Let only some blocks and the head learn, and give their parameters by name.

    Afterwards every part is in the mode, and asks for the gradients, in which it was found.

    Args:
        network: What is trained.
        blocks: That are unfrozen.
        head: Name of the head, which always learns.
    """
    modes = [(module, module.training) for module in network.modules()]
    flags = [(value, value.requires_grad) for value in network.parameters()]
    try:
        network.eval()
        parts = [head, *(part for block in blocks for part in block.parts)]
        modules = dict(network.named_modules())
        for part in parts:
            if part in modules:
                modules[part].train()
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        chosen = {
            name: value
            for name, value in network.named_parameters()
            if is_unfrozen(name, blocks, head=head)
        }
        for name, value in network.named_parameters():
            value.requires_grad_(name in chosen)
        yield chosen
    finally:
        for module, training in modes:
            module.training = training
        for value, flag in flags:
            value.requires_grad_(flag)
            value.grad = None


def is_unfrozen(tensor: str, blocks: Sequence[Block], *, head: str) -> bool:
    """Tell whether a parameter or buffer, by its name, is in the head or in one of the blocks."""
    in_head = tensor.startswith(f"{head}.") if head else True
    return in_head or any(block.holds(tensor) for block in blocks)


def unfrozen_state(network: nn.Module, blocks: Sequence[Block], *, head: str) -> dict[str, Tensor]:
    """Copy the tensors that may have changed, by name."""
    return {
        name: value.detach().clone()
        for name, value in network.state_dict().items()
        if is_unfrozen(name, blocks, head=head)
    }
