"""The report of a fine-tuning: what it began with, how it went, and where the network looks."""

from __future__ import annotations

import torch

from eyespot.exporter.capture import capture, find_gradient_node
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.saliency import SaliencyError
from eyespot.transfer.report import EpochPoint, PictureExplainer, Report, show_pictures
from eyespot.transfer.stages.fine_tuning import FineTuned
from eyespot.transfer.stages.methods import METHODS

_STAGES = {"head": "head", "blocks": "unfrozen blocks"}


def report_of(tuned: FineTuned, *, title: str) -> Report:
    """Put together what is known of a fine-tuned network.

    Args:
        tuned: What `fine_tune` gave.
        title: What was trained.
    """
    split, rule = tuned.split, tuned.backbone.rule
    explainer = _explainer(tuned)
    mistakes, examples = show_pictures(
        split.held_out.images,
        tuned.logits,
        split.held_out.labels,
        names=split.labels,
        files=split.held_out_names,
        color_order=rule.color_order,
        explain=explainer,
    )
    return Report(
        title=title,
        metrics=tuned.metrics,
        facts=facts_of(tuned),
        history=_history(tuned),
        temperature=tuned.temperature,
        is_temperature_baked=tuned.temperature is not None,
        mistakes=mistakes,
        examples=examples,
        method="" if explainer is None else explainer.method,
        skipped=split.skipped,
        repeated=split.repeated,
        recipe=tuned.recipe.to_toml(),
    )


def facts_of(tuned: FineTuned) -> dict[str, str]:
    """Tell in short texts what was done."""
    told, probe = tuned.backbone.provenance, tuned.probe
    sha256 = f" (SHA-256 {told.weights_sha256[:12]}…)" if told.weights_sha256 else ""
    facts = {
        "backbone": f"{told.architecture}, weights {told.weights}{sha256}",
        "method": f"{tuned.recipe.method}: {METHODS[tuned.recipe.method].summary}",
        "pictures": f"{len(tuned.split.train):,} to learn from, "
        f"{len(tuned.split.held_out):,} held out",
        "features": "found on the disk"
        if probe.were_features_cached
        else f"computed in {probe.feature_seconds:.1f} s",
        "stage 1": f"{tuned.backbone.head.name}: {probe.head.best.accuracy:.2%} after "
        f"{len(probe.head.history)} epochs in {probe.head.seconds:.1f} s, learning rate "
        f"{probe.head.learning_rate:.2g}",
    }
    if tuned.recipe.task == "single-probability":
        facts["probability"] = f"of {tuned.split.labels[1]}, rather than {tuned.split.labels[0]}"
    if tuned.block is not None:
        names = ", ".join(block.name for block in tuned.unfrozen)
        better = (
            f"{tuned.block.best.accuracy:.2%} in epoch {tuned.block.best_epoch}"
            if tuned.block.best_epoch
            else "no epoch was better than stage 1, whose weights are kept"
        )
        facts["stage 2"] = f"{names}: {better}, {tuned.block.seconds:.1f} s"
    return facts


def _history(tuned: FineTuned) -> tuple[EpochPoint, ...]:
    return tuple(
        EpochPoint(
            stage=_STAGES[epoch.stage],
            training_loss=epoch.loss,
            validation_loss=epoch.held_out.loss,
            validation_accuracy=epoch.held_out.accuracy,
            is_kept=epoch is tuned.kept,
        )
        for epoch in tuned.history
    )


def _explainer(tuned: FineTuned) -> PictureExplainer | None:
    """Explain the network as it is; None where its graph has no place to ask about."""
    module = Preprocessed(tuned.network, tuned.backbone.rule).eval()
    shape = tuned.split.held_out.images.shape[1:]
    program = capture(module, torch.zeros(1, *shape, dtype=torch.uint8))
    node = find_gradient_node(program)
    if node is None:
        return None
    try:
        return PictureExplainer(program, gradient_node=node)
    except SaliencyError:
        return None
