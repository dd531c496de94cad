"""Fine-tuning, stage by stage: the head on cached features, then the last blocks."""

from eyespot.transfer.stages.block_stage import (
    BlockResult,
    BlockSettings,
    CheckpointPlace,
    train_blocks,
)
from eyespot.transfer.stages.blocks import Block, chosen_blocks, find_blocks
from eyespot.transfer.stages.fine_tuning import (
    CHECKPOINT_FILE,
    FineTuned,
    Prepared,
    Probe,
    fine_tune,
    finish,
    prepare,
    read_pictures_for,
    train_probe,
    train_unfrozen,
)
from eyespot.transfer.stages.head_stage import (
    FeatureExamples,
    HeadResult,
    HeadSettings,
    train_head,
)
from eyespot.transfer.stages.machine import Machine, choose_machine
from eyespot.transfer.stages.method_comparison import ComparedMethod, compare_methods
from eyespot.transfer.stages.methods import METHODS, Method
from eyespot.transfer.stages.objective import Objective
from eyespot.transfer.stages.recipe import Recipe, read_recipe, recipe_from
from eyespot.transfer.stages.score import Epoch, Progress, Score
from eyespot.transfer.stages.shipping import export_fine_tuned, require_place
from eyespot.transfer.stages.story import facts_of, report_of

__all__ = [
    "CHECKPOINT_FILE",
    "METHODS",
    "Block",
    "BlockResult",
    "BlockSettings",
    "CheckpointPlace",
    "ComparedMethod",
    "Epoch",
    "FeatureExamples",
    "FineTuned",
    "HeadResult",
    "HeadSettings",
    "Machine",
    "Method",
    "Objective",
    "Prepared",
    "Probe",
    "Progress",
    "Recipe",
    "Score",
    "choose_machine",
    "chosen_blocks",
    "compare_methods",
    "export_fine_tuned",
    "facts_of",
    "find_blocks",
    "fine_tune",
    "finish",
    "prepare",
    "read_pictures_for",
    "read_recipe",
    "recipe_from",
    "report_of",
    "require_place",
    "train_blocks",
    "train_head",
    "train_probe",
    "train_unfrozen",
]
