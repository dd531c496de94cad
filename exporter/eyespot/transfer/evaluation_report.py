"""The report of an evaluation: the page of a training, without the training."""

from __future__ import annotations

from eyespot.transfer.evaluation import Evaluation
from eyespot.transfer.evaluation_pictures import EvaluationPictures
from eyespot.transfer.report import PictureExplainer, Report, show_pictures


def evaluation_report(
    evaluation: Evaluation,
    pictures: EvaluationPictures,
    *,
    data: str,
    explainer: PictureExplainer | None = None,
) -> Report:
    """Put together what is known of a model after its evaluation.

    Args:
        evaluation: Of the model.
        pictures: That it was asked about.
        data: What the pictures are called.
        explainer: Of the model's original; without it nobody knows where it looked.

    Raises:
        SaliencyError: The explainer cannot explain these pictures.
    """
    mistakes, examples = show_pictures(
        pictures.images,
        evaluation.logits,
        pictures.labels,
        names=pictures.names,
        files=pictures.files,
        color_order=pictures.rule.color_order,
        explain=explainer,
    )
    facts = {"model": f"{evaluation.model_name} version {evaluation.model_version}"}
    if evaluation.agreement is not None:
        found = evaluation.agreement
        facts["PyTorch original"] = (
            f"the same answer in {found.agreeing:,} of {found.rows:,} rows; logits differ by "
            f"{found.max_abs_diff:.3g} at most"
        )
    return Report(
        title=f"{evaluation.model_name} on {data}",
        metrics=evaluation.metrics,
        facts=facts,
        mistakes=mistakes,
        examples=examples,
        method="" if explainer is None else explainer.method,
        skipped=pictures.skipped,
    )
