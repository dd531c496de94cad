"""A training in the middle, on disk: one safetensors file, whole or not at all.

It holds tensors and JSON, so that reading it runs no code. The state of chance is not in it:
chance follows from the seed and the place (see `chance`), and both are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from eyespot.transfer.checkpoint import write_tensors
from eyespot.transfer.errors import CheckpointError
from eyespot.transfer.stages.score import Epoch, Score

_FORMAT = "eyespot fine-tuning 1"


@dataclass
class TrainingState:
    """Where a training stands, between two steps.

    Attributes:
        epoch: Epochs that are done.
        step: Steps that are done in the next.
        loss_sum: Of the rows of those steps.
        right_sum: Right answers among them.
        seconds: Spent so far.
        history: The epochs that are done, those of earlier stages as well.
        best: The best score so far, and the epoch it was reached in; 0 is before the first.
        tensors: By group ("network", "best", "average", "optimizer") and name.
    """

    best: Score
    best_epoch: int = 0
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    right_sum: float = 0.0
    seconds: float = 0.0
    history: list[Epoch] = field(default_factory=list)
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def write_state(state: TrainingState, path: Path, *, settings: Mapping[str, Any]) -> None:
    """Write a checkpoint in the place of the one that is there.

    Args:
        state: What is written.
        path: Of the file.
        settings: Must be the same where the training is taken up.

    Raises:
        CheckpointError: It cannot be written, as when the disk is full; the one before it stays.
    """
    told = {name: value for name, value in vars(state).items() if name != "tensors"}
    notes = {
        "format": _FORMAT,
        "settings": json.dumps(settings, sort_keys=True),
        "state": json.dumps(told, default=vars),
    }
    flat = {
        f"{group}/{name}": value
        for group, tensors in state.tensors.items()
        for name, value in tensors.items()
    }
    write_tensors(flat, path, notes=notes)


def read_state(path: Path, *, settings: Mapping[str, Any]) -> TrainingState:
    """Read a checkpoint of the same training.

    Raises:
        CheckpointError: It cannot be read, is no checkpoint, or one of another training: what
            differs is named.
    """
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            if notes.get("format") != _FORMAT:
                raise CheckpointError(f"{path} is no checkpoint of fine-tuning: remove it")
            _require_same(json.loads(notes["settings"]), settings, path)
            state = _from_json(json.loads(notes["state"]))
            for key in file.keys():  # noqa: SIM118
                group, _, name = key.partition("/")
                state.tensors.setdefault(group, {})[name] = file.get_tensor(key)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read: {error}. Remove it to begin anew") from error
    return state


def _from_json(told: dict[str, Any]) -> TrainingState:
    history = [
        Epoch(**{**epoch, "held_out": Score(**epoch["held_out"])}) for epoch in told.pop("history")
    ]
    return TrainingState(**{**told, "best": Score(**told["best"]), "history": history})


def _require_same(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    wanted = json.loads(json.dumps(wanted))  # tuples are lists there
    differing = [
        f"{name} was {found.get(name)}, is {wanted.get(name)}"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    if differing:
        raise CheckpointError(
            f"{path} is of another training ({'; '.join(differing)}): resume with the same "
            "settings, or remove it to begin anew"
        )
