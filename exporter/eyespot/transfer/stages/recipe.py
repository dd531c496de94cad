"""All settings of a fine-tuning, as a value and as a file that another one can be given."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from eyespot.transfer.errors import SettingsError
from eyespot.transfer.stages.block_stage import BlockSettings
from eyespot.transfer.stages.blocks import Unfreeze
from eyespot.transfer.stages.head_stage import HeadSettings
from eyespot.transfer.stages.methods import Method, method_of
from eyespot.transfer.stages.objective import Task
from eyespot.transfer.stages.variation import AUGMENTATIONS

BALANCES = {
    "none": "every picture counts alike",
    "weights": "errors on rare classes cost more",
    "sampling": "pictures of rare classes come more often",
}
_FILE_HEAD = "# A recipe of `eyespot finetune`: --config takes it again.\n"


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned.

    Attributes:
        backbone: A network of the zoo, or REPOSITORY/MODEL.
        weights: Of the backbone: a file, or a name under which torchvision publishes them.
        method: One of `METHODS`.
        unfreeze: Other blocks than the method's.
        task: "classes", "multi-label" or "single-probability".
        head: Name of the head, where it does not find itself.
        input_size: Height and width of the pictures; the network's if None.
        channels: 1 for grey, 3 for colour; the network's if None.
        val: Data that is held out; a share of each class if None.
        held_out: That share.
        head_learning_rate: Of stage 1; it finds itself if None.
        head_epochs: Of stage 1, at most.
        epochs: Of stage 2.
        batch_size: Pictures of a step of stage 2.
        learning_rate: Of the last block in stage 2, at its peak.
        decay: Each earlier block learns at so many times the rate of the next.
        weight_decay: Of both stages.
        augment: How pictures are varied in stage 2; one of `AUGMENTATIONS`.
        mixup: Alpha of mixup in stage 2; 0 is none.
        label_smoothing: The share of a target that is spread over all outcomes.
        ema: Decay of the moving average of the weights in stage 2; 0 is none.
        balance: One of `BALANCES`.
        temperature: One is fitted on the pictures held out, and baked into the network.
        seed: Of all that chance decides.
    """

    backbone: str = "resnet18"
    weights: str | None = None
    method: str = "last-block"
    unfreeze: Unfreeze | None = None
    task: Task = "classes"
    head: str | None = None
    input_size: int | None = None
    channels: int | None = None
    val: str | None = None
    held_out: float = 0.2
    head_learning_rate: float | None = None
    head_epochs: int = 200
    epochs: int = 8
    batch_size: int = 32
    learning_rate: float = 3e-4
    decay: float = 0.4
    weight_decay: float = 1e-2
    augment: str = "natural"
    mixup: float = 0.0
    label_smoothing: float = 0.0
    ema: float = 0.0
    balance: str = "none"
    temperature: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        method_of(self.method)
        for name, values in (
            ("task", get_args(Task)),
            ("balance", BALANCES),
            ("augment", AUGMENTATIONS),
        ):
            if getattr(self, name) not in values:
                raise SettingsError(
                    f"{name} must be one of {', '.join(values)}, found {getattr(self, name)!r}"
                )
        if self.balance == "sampling" and self.task == "multi-label":
            raise SettingsError(
                "pictures of several classes cannot be sampled by class: balance them by weights"
            )
        self.head_settings  # noqa: B018 - their ranges are checked before anything is loaded
        self.block_settings  # noqa: B018

    @property
    def chosen_method(self) -> Method:
        """The method, with the blocks that were asked for in place of its own."""
        method = method_of(self.method)
        if self.unfreeze is None:
            return method
        return dataclasses.replace(method, unfreeze=self.unfreeze)

    @property
    def head_settings(self) -> HeadSettings:
        """Those of stage 1."""
        return HeadSettings(
            epochs=self.head_epochs,
            learning_rate=self.head_learning_rate,
            weight_decay=self.weight_decay,
            balanced=self.balance == "sampling",
            seed=self.seed,
        )

    @property
    def block_settings(self) -> BlockSettings:
        """Those of stage 2."""
        return BlockSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            decay=self.decay,
            weight_decay=self.weight_decay,
            gradual=self.chosen_method.gradual,
            augmentation=self.augment,
            mixup=self.mixup,
            ema=self.ema,
            balanced=self.balance == "sampling",
            seed=self.seed,
        )

    def to_json(self) -> dict[str, Any]:
        """Give the settings by name."""
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """Write the settings as TOML, in which what is None has no place."""
        told = {name: value for name, value in self.to_json().items() if value is not None}
        # A JSON text, number or truth value is the same in TOML.
        return _FILE_HEAD + "".join(
            f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in told.items()
        )


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """Make a recipe of settings by name; what is not told has its default.

    Raises:
        SettingsError: A name is unknown, or a value of another kind than it should be.
    """
    hints = get_type_hints(Recipe)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise SettingsError(
            f"a recipe has no {', '.join(unknown)}; it has {', '.join(sorted(hints))}"
        )
    for name, value in values.items():
        if not _is_of(value, get_args(hints[name]) or (hints[name],)):
            raise SettingsError(f"{name} cannot be {value!r}")
    return Recipe(**values)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file, or a JSON file by its suffix.

    Raises:
        SettingsError: It cannot be read, or holds what is no setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is no recipe: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path} is no recipe: settings by name are expected")
    try:
        return recipe_from(values)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def _is_of(value: Any, kinds: tuple[Any, ...]) -> bool:
    """Tell whether a value is of one of several types or is one of several words."""
    if isinstance(value, bool):
        return bool in kinds
    types = tuple(kind for kind in kinds if isinstance(kind, type))
    if float in types:
        types += (int,)  # a whole number is a number
    return isinstance(value, types) or value in [kind for kind in kinds if isinstance(kind, str)]
