"""The state of an optimiser as tensors by name, there and back without a bit of difference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copy what an optimiser remembers of each parameter, by its number and the name of it."""
    state = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": value.clone()
        for number, remembered in state.items()
        for name, value in remembered.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Let an optimiser of the same parameters remember what `optimizer_tensors` gave."""
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        like = parameters[int(number)]
        if value.shape == like.shape:
            # In the parameter's order of memory: in another, sums are rounded otherwise.
            value = torch.empty_like(like).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
