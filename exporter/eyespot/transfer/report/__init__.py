"""The report of a training: one page that shows what was learnt and what is looked at."""

from eyespot.transfer.report.contents import EpochPoint, Report, ShownPicture
from eyespot.transfer.report.explainer import PictureExplainer, entry_explainer
from eyespot.transfer.report.selection import show_pictures
from eyespot.transfer.report.writing import write_report

__all__ = [
    "EpochPoint",
    "PictureExplainer",
    "Report",
    "ShownPicture",
    "entry_explainer",
    "show_pictures",
    "write_report",
]
