"""How much each layer alone costs in exactness when it is quantised, and which to leave out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eyespot.exporter.parity import Run
from eyespot.exporter.quantisation.agreement import Agreement, Judge
from eyespot.exporter.quantisation.graph import QuantisableLayer

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Sensitivity:
    """What comes of quantising one layer and nothing else.

    Attributes:
        layer: Name of the node.
        title: What its weights are called in the network.
        operator: "Conv", "Gemm" or "MatMul".
        parameters: Of its weights.
        relative_error: Length of the change of the outputs over that of the outputs.
        top1_agreement: Fraction of pictures whose top class stays.
        is_float: It was left in floating point in the end.
    """

    layer: str
    title: str
    operator: str
    parameters: int
    relative_error: float
    top1_agreement: float
    is_float: bool = False


def measure_sensitivities(
    layers: Sequence[QuantisableLayer],
    judge: Judge,
    quantised: Callable[[str], Run],
    *,
    progress: Progress,
) -> tuple[Sensitivity, ...]:
    """Quantise each layer alone, in the order of the network.

    Args:
        layers: Of the network.
        judge: Compares on some pictures.
        quantised: Makes the graph in which only the named layer is quantised.
        progress: Told what is being done.
    """
    found = []
    for number, layer in enumerate(layers, start=1):
        progress(f"quantising layer {number} of {len(layers)} alone")
        agreement = judge.compare(quantised(layer.name))
        found.append(
            Sensitivity(
                layer.name,
                layer.title,
                layer.operator,
                layer.parameters,
                agreement.relative_error,
                agreement.top1_agreement,
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Choice:
    """Which layers are left in floating point.

    Attributes:
        layers: Their names, the most sensitive first.
        agreement: Of all others quantised.
        is_enough: What was asked for is met.
    """

    layers: tuple[str, ...]
    agreement: Agreement
    is_enough: bool


def choose_float_layers(
    sensitivities: Sequence[Sensitivity],
    compare: Callable[[Sequence[str]], Agreement],
    is_enough: Callable[[Agreement], bool],
    *,
    progress: Progress,
) -> Choice:
    """Leave as few of the most sensitive layers in floating point as will do, at most half.

    Their number is doubled until it is enough, and then halved back.

    Args:
        sensitivities: Of all layers.
        compare: Tells what comes of leaving some layers out.
        is_enough: Whether that is what was asked for.
        progress: Told what is being done.
    """
    order = [each.layer for each in sorted(sensitivities, key=lambda each: -each.relative_error)]

    def leave(count: int) -> Choice:
        progress(f"quantising all layers but {count}" if count else "quantising all layers")
        agreement = compare(order[:count])
        return Choice(tuple(order[:count]), agreement, is_enough(agreement))

    most = len(order) // 2
    too_few, tried = -1, leave(0)
    while not tried.is_enough and len(tried.layers) < most:
        too_few = len(tried.layers)
        tried = leave(min(most, max(1, 2 * too_few)))
    while tried.is_enough and len(tried.layers) - too_few > 1:
        middle = leave((too_few + len(tried.layers)) // 2)
        if middle.is_enough:
            tried = middle
        else:
            too_few = len(middle.layers)
    return tried
