"""Which methods work for a model version, what they cost, and why others do not work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eyespot.saliency import (
    METHODS,
    Backend,
    Method,
    ParameterSpec,
    Scorer,
    UnavailableMethodError,
)


@dataclass(frozen=True)
class MethodStatus:
    """A method, and whether it works for one model version."""

    name: str
    paper: str
    parameters: tuple[ParameterSpec, ...]
    available: bool
    reason: str = ""  # why not
    forward_passes: float = 0.0  # of one row, with the defaults
    scales_with: str = ""


@dataclass(frozen=True)
class LayerStatus:
    """A layer that a method may be asked about."""

    name: str
    shape: tuple[int | None, ...]  # (C, H, W)
    is_default: bool


def list_methods(
    backend: Backend | None,
    scorer: Scorer | None,
    *,
    row_shape: tuple[int, ...] | None,
    no_backend: str,
    reason_against: Callable[[Scorer], str],
) -> tuple[MethodStatus, ...]:
    """Try each method on what there is to compute with.

    Args:
        backend: for gradients, if there is one.
        scorer: for scores alone.
        row_shape: of the input, where it is known.
        no_backend: why there is nothing to compute with.
        reason_against: tells why something may not be asked now, if so.
    """
    statuses = []
    for method in METHODS.values():
        computing = backend if method.needs_gradients else scorer or backend
        reason = no_backend if computing is None else reason_against(computing)
        if computing is None or reason:
            statuses.append(_status(method, reason=reason))
            continue
        try:
            method.check_backend(computing)
        except UnavailableMethodError as error:
            statuses.append(_status(method, reason=str(error)))
        else:
            statuses.append(_status(method, cost=_cost(method, computing, row_shape)))
    return tuple(statuses)


def names_without_gradients(scorer: Scorer | None) -> list[str]:
    """The methods that work where there are only scores."""
    if scorer is None:
        return []
    return [name for name, method in METHODS.items() if _works_without_gradients(method, scorer)]


def list_layers(backend: Backend | None) -> Sequence[LayerStatus]:
    """The layers that a `layer` parameter may name."""
    layers = () if backend is None else backend.layers()
    if backend is None or not layers:
        return ()
    default = backend.find_layer("")
    return [LayerStatus(layer.name, layer.shape, layer.name == default) for layer in layers]


def methods_without_explainer(reason: str) -> tuple[MethodStatus, ...]:
    """Every method, as a model version has them that cannot be explained, and why."""
    return tuple(_status(method, reason=reason) for method in METHODS.values())


def _works_without_gradients(method: Method, scorer: Scorer) -> bool:
    if method.needs_gradients:
        return False
    try:
        method.check_backend(scorer)
    except UnavailableMethodError:
        return False
    return True


def _cost(method: Method, computing: Scorer, row_shape: tuple[int, ...] | None) -> float:
    if row_shape is None:
        return 0.0
    return float(method.cost(method.complete({}), row_shape, computing.channel_axis))


def _status(method: Method, *, reason: str = "", cost: float = 0.0) -> MethodStatus:
    return MethodStatus(
        name=method.name,
        paper=method.paper,
        parameters=method.parameters,
        available=not reason,
        reason=reason,
        forward_passes=cost,
        scales_with=method.scales_with,
    )
