"""Errors on ImageNet as papers published them, each with its source.

The numbers of one network differ with what was counted: one network or an ensemble, one crop or
many, the validation set or the challenge's test set. So each says how it was measured, and
figures that are often quoted otherwise have a note.
"""

from __future__ import annotations

from dataclasses import dataclass

_KRIZHEVSKY = "Krizhevsky et al. 2012"
_ZEILER = "Zeiler and Fergus 2013, table 2"
_SIMONYAN = "Simonyan and Zisserman 2014"
_SZEGEDY = "Szegedy et al. 2014, table 3"
_HE = "He et al. 2015"
_ZAGORUYKO = "Zagoruyko and Komodakis 2016"
_XIE = "Xie et al. 2016"
_INCEPTION_3 = "Szegedy et al. 2015, arXiv 1512.00567"
_INCEPTION_4 = "Szegedy et al. 2016, arXiv 1602.07261"
_CHOLLET = "Chollet 2016, table 1"
_HUANG = "Huang et al. 2016, table 3"
_SANDLER = "Sandler et al. 2018, table 4"
_ZHANG = "Zhang et al. 2017, table 2"
_MA = "Ma et al. 2018, table 8"
_HU = "Hu et al. 2017, table 2"


@dataclass(frozen=True)
class PublishedError:
    """What a paper says of a network; errors in percent.

    Attributes:
        top1: Of the likeliest class; None where it is not told.
        top5: Of the five likeliest; None where it is not told.
        how: What was measured.
        source: The paper, and the table where there is one.
        note: Where the figure is quoted otherwise.
    """

    top1: float | None
    top5: float | None
    how: str
    source: str
    note: str = ""


_ALEXNET = PublishedError(
    None, 15.3, "7 networks, test set", _KRIZHEVSKY,
    "of the network of 2012, the winner; two of the seven were trained on more pictures, "
    "and one network alone has 18.2 on the validation set",
)  # fmt: skip
_GOOGLENET = PublishedError(
    None, 7.89, "1 network, 144 crops", _SZEGEDY,
    "quoted as 7.8; the paper's 6.67 is of 7 networks and 144 crops, its 10.07 of one network and "
    "one crop",
)  # fmt: skip
_SHUFFLENET_1 = {"g1": 33.6, "g2": 32.7, "g3": 32.6, "g4": 32.8, "g8": 32.4}

PUBLISHED_ERRORS: dict[str, PublishedError] = {
    "alexnet": _ALEXNET,
    "alexnet_2012": _ALEXNET,
    "zfnet": PublishedError(
        36.0, 14.8, "6 networks, top-1 on the validation set, top-5 on the test set", _ZEILER,
        "11.2 is of Clarifai's entry to the challenge of 2013 by the first author, an ensemble "
        "trained on more pictures",
    ),
    "vgg11": PublishedError(29.6, 10.4, "1 scale, dense", f"{_SIMONYAN}, table 3"),
    "vgg13": PublishedError(28.7, 9.9, "1 scale, dense", f"{_SIMONYAN}, table 3"),
    "vgg16": PublishedError(25.6, 8.1, "1 scale, dense", f"{_SIMONYAN}, table 3"),
    "vgg19": PublishedError(25.5, 8.0, "1 scale, dense", f"{_SIMONYAN}, table 3"),
    "googlenet": _GOOGLENET,
    "googlenet_paper": _GOOGLENET,
    "resnet18": PublishedError(27.88, None, "10 crops", f"{_HE}, table 2"),
    "resnet34": PublishedError(24.52, 7.46, "10 crops, shortcuts of option B", f"{_HE}, table 3"),
    "resnet50": PublishedError(
        22.85, 6.71, "10 crops", f"{_HE}, table 3", "3.57 is of the challenge's ensemble"
    ),
    "resnet101": PublishedError(21.75, 6.05, "10 crops", f"{_HE}, table 3"),
    "resnet152": PublishedError(
        21.43, 5.71, "10 crops", f"{_HE}, table 3", "3.57 is of the challenge's ensemble"
    ),
    "wide_resnet50_2": PublishedError(21.9, 6.03, "1 crop", _ZAGORUYKO),
    "resnext50_32x4d": PublishedError(22.2, None, "1 crop", f"{_XIE}, table 3"),
    "inception_v3": PublishedError(
        21.2, 5.6, "1 crop", f"{_INCEPTION_3}, table 3", "3.58 is of 4 networks and 144 crops"
    ),
    "inception_v4": PublishedError(20.0, 5.0, "1 crop", f"{_INCEPTION_4}, table 2"),
    "inception_resnet_v1": PublishedError(21.3, 5.5, "1 crop", f"{_INCEPTION_4}, table 2"),
    "inception_resnet_v2": PublishedError(19.9, 4.9, "1 crop", f"{_INCEPTION_4}, table 2"),
    "xception": PublishedError(21.0, 5.5, "1 crop", _CHOLLET),
    "densenet121": PublishedError(25.02, 7.71, "1 crop", _HUANG),
    "densenet169": PublishedError(23.80, 6.85, "1 crop", _HUANG),
    "densenet201": PublishedError(22.58, 6.34, "1 crop", _HUANG),
    "mobilenet_v2": PublishedError(28.0, None, "1 crop", _SANDLER),
    **{
        f"shufflenet_v1_{group}": PublishedError(error, None, "1 crop", _ZHANG)
        for group, error in _SHUFFLENET_1.items()
    },
    "shufflenet_v2_x0_5": PublishedError(39.7, None, "1 crop", _MA),
    "shufflenet_v2_x1_0": PublishedError(30.6, None, "1 crop", _MA),
    "se_resnet50": PublishedError(23.29, 6.62, "1 crop", _HU),
    "senet154": PublishedError(18.68, 4.47, "1 crop", "Hu et al. 2017"),
}  # fmt: skip
