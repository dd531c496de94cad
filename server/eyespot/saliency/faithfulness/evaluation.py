"""How faithful several methods are on the same pictures of one network, beside chance."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency.attribution import Method, ParameterValue
from eyespot.saliency.backend import RandomisableBackend, Scorer
from eyespot.saliency.errors import ArgumentError, UnavailableMethodError
from eyespot.saliency.faithfulness.deletion_insertion import (
    areas,
    deletion_curves,
    insertion_curves,
)
from eyespot.saliency.faithfulness.pointing_game import Objects, accuracy, hits
from eyespot.saliency.faithfulness.sanity_checks import (
    cascade,
    cascade_places,
    rank_correlation,
)
from eyespot.saliency.maps import enlarge, spatial_axes
from eyespot.saliency.objective import TOP_CLASS, Objective, Targets
from eyespot.saliency.reduction import reduce_channels

Floats = NDArray[np.float64]
Maps = NDArray[np.float32]

# What maps reach that know nothing: of chance for each pixel, and for patches that run into
# each other. Pixels that go here and there make a picture that no network has seen, and the
# probability falls for that alone; so each kind of map is read against its own kind of chance.
RANDOM_PIXELS, RANDOM_PATCHES = "random pixels", "random patches"
_PATCHES = 7  # along each side


@dataclass(frozen=True)
class MethodToEvaluate:
    """A method with its parameters, under the name that it is reported by."""

    name: str
    method: Method
    parameters: Mapping[str, ParameterValue]


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """What was measured of one method on B pictures.

    Attributes:
        name: as it was asked for; "random pixels" and "random patches" are chance.
        deletion: (B, S + 1), the probability while pixels go.
        insertion: (B, S + 1), while they come.
        hits: (N,) of the pointing game's N objects; None when there are none.
        accuracy: of the pointing game, the mean over its classes.
        signed: (L, B), rank correlations of the maps after each step of the cascade; None where
            the network cannot be randomised.
        magnitudes: (L, B), the same of the maps' magnitudes.
    """

    name: str
    deletion: Floats
    insertion: Floats
    hits: Floats | None
    accuracy: float | None
    signed: Floats | None
    magnitudes: Floats | None

    @property
    def deletion_areas(self) -> Floats:
        """(B,); a low one is good."""
        return areas(self.deletion)

    @property
    def insertion_areas(self) -> Floats:
        """(B,); a high one is good."""
        return areas(self.insertion)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured of all methods.

    Attributes:
        classes: (B,), the top class of each picture, which is explained and scored.
        probabilities: (B,), of these classes.
        shares: (S + 1,), of the pixels that have gone or come.
        layers: L, the lowest layer that is random, after each step of the cascade.
        methods: in the order asked for; the last two are chance.
    """

    classes: NDArray[np.int64]
    probabilities: Floats
    shares: Floats
    layers: tuple[str, ...]
    methods: tuple[Faithfulness, ...]


def evaluate_faithfulness(
    scorer: Scorer,
    x: NDArray[np.generic],
    methods: Sequence[MethodToEvaluate],
    *,
    backend: RandomisableBackend | None = None,
    baseline: NDArray[np.float64] | float = 0.0,
    objects: Objects | None = None,
    channel_reduction: str = "max",
    steps: int = 50,
    cascade_steps: int = 10,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Measure deletion, insertion, pointing and the sanity check of methods on pictures.

    Args:
        scorer: gives the probabilities; its output is a vector (K,), K at least 2.
        x: (B, ., ., .), pictures as the network takes them.
        methods: at least one.
        backend: what is differentiated and randomised; without one, only methods that need no
            gradients can be evaluated, and there is no sanity check.
        baseline: of deletion, in the input's own unit: a number, or one by channel.
        objects: of the pointing game; None leaves it out.
        channel_reduction: how channels become the map whose order counts, "max" or "mean".
        steps: of deletion and insertion.
        cascade_steps: most networks that the sanity check makes; 0 leaves it out.
        seed: of all that is random.
        progress: told what is being done.

    Raises:
        ArgumentError: the network gives no probabilities of several classes, or a parameter is
            impossible.
        UnavailableMethodError: the network does not allow a method.
    """
    _check_network(scorer)
    for each in methods:
        _check_method(each, scorer, backend)
    outputs = np.concatenate(
        [scorer.scores(x[part]) for part in _slices(len(x), scorer.rows_at_once(x.shape[1:]))]
    )
    top = Objective(Targets(np.full(len(x), TOP_CLASS)), "probability")(outputs)
    if objects is not None:
        of_rows = Objective(Targets(objects.classes)).resolve(outputs[objects.rows])
        objects = Objects(objects.rows, of_rows.targets.classes, objects.regions)
    layers = () if backend is None else backend.weight_layers()[::-1]
    stops = cascade_places(len(layers), cascade_steps)
    measure = _Measurement(
        scorer, backend, x, top.classes, objects, baseline, channel_reduction, steps, len(stops),
        seed, progress,
    )  # fmt: skip
    found = [measure.of_method(each) for each in methods]
    return Evaluation(
        top.classes,
        top.values.astype(np.float64),
        np.linspace(0, 1, steps + 1),
        tuple(layers[stop] for stop in stops),
        (*found, *measure.of_chance()),
    )


def _check_network(scorer: Scorer) -> None:
    shape = scorer.output_shape
    if len(shape) != 1 or shape[0] is None or shape[0] < 2:
        raise ArgumentError(
            f"faithfulness is measured by the probability of a class, and the network gives "
            f"{list(shape)}: expected a vector of at least 2 logits"
        )
    if scorer.channel_axis is None:
        raise ArgumentError(
            "faithfulness is measured on pictures: rows of two spatial axes and one of channels"
        )


def _check_method(
    asked: MethodToEvaluate, scorer: Scorer, backend: RandomisableBackend | None
) -> None:
    if asked.method.needs_gradients and backend is None:
        raise UnavailableMethodError(f"{asked.method.name} needs gradients, and there are none")
    asked.method.check_backend(backend or scorer)
    asked.method.complete(asked.parameters)


@dataclass(frozen=True, eq=False)
class _Measurement:
    """Everything that is the same for all methods."""

    scorer: Scorer
    backend: RandomisableBackend | None
    x: NDArray[np.generic]
    classes: NDArray[np.int64]
    objects: Objects | None
    baseline: NDArray[np.float64] | float
    channel_reduction: str
    steps: int
    cascade_steps: int
    seed: int
    progress: Callable[[str], None]

    def of_method(self, asked: MethodToEvaluate) -> Faithfulness:
        """Measure a method."""
        self.progress(f"{asked.name}: explaining")
        computing = self.backend if asked.method.needs_gradients else self.scorer
        raw = self._explain(asked, computing, self.x, self.classes)
        maps = self._maps(asked.method, raw, self.channel_reduction)
        pointing = None
        if self.objects is not None:
            pointing = maps[self.objects.rows]
            if (self.classes[self.objects.rows] != self.objects.classes).any():
                x = self.x[self.objects.rows]
                of_objects = self._explain(asked, computing, x, self.objects.classes)
                pointing = self._maps(asked.method, of_objects, self.channel_reduction)
        return self._judge(asked.name, maps, pointing, self._correlations(asked, raw))

    def of_chance(self) -> tuple[Faithfulness, Faithfulness]:
        """Measure maps that know nothing: of pixels, and of patches."""
        axis = self.scorer.channel_axis
        assert axis is not None
        height, width = (self.x.shape[each] for each in spatial_axes(axis))
        random = np.random.default_rng(self.seed)
        pixels = random.random((len(self.x), height, width), np.float32)
        patches = random.random((len(self.x), _PATCHES, _PATCHES), np.float32)
        smooth = enlarge(patches, self.x.shape, axis).squeeze(axis)
        return self._judge_chance(RANDOM_PIXELS, pixels), self._judge_chance(RANDOM_PATCHES, smooth)

    def _judge_chance(self, name: str, maps: Maps) -> Faithfulness:
        pointing = None if self.objects is None else maps[self.objects.rows]
        return self._judge(name, maps, pointing, None)

    def _judge(
        self, name: str, maps: Maps, pointing: Maps | None, correlations: Floats | None
    ) -> Faithfulness:
        self.progress(f"{name}: deleting and inserting pixels")
        given = (self.scorer, self.x, maps, self.classes)
        deletion = deletion_curves(*given, steps=self.steps, baseline=self.baseline, seed=self.seed)
        insertion = insertion_curves(*given, steps=self.steps, seed=self.seed)
        found = share = None
        if self.objects is not None and pointing is not None:
            found = hits(pointing, self.objects.regions)
            share = accuracy(found, self.objects.classes)
        signed, magnitudes = (None, None) if correlations is None else correlations
        return Faithfulness(name, deletion, insertion, found, share, signed, magnitudes)

    def _correlations(self, asked: MethodToEvaluate, raw: Maps) -> Floats | None:
        """Of values and of magnitudes, (2, L, B)."""
        if self.backend is None or not self.cascade_steps:
            return None
        trained = self._signed_and_magnitudes(asked.method, raw)
        found = []
        networks = cascade(self.backend, steps=self.cascade_steps, seed=self.seed)
        for number, (layer, network) in enumerate(networks, start=1):
            self.progress(
                f"{asked.name}: random weights down to {layer} ({number} of {self.cascade_steps})"
            )
            other = self._explain(asked, network, self.x, self.classes)
            pairs = zip(trained, self._signed_and_magnitudes(asked.method, other), strict=True)
            found.append([rank_correlation(*pair) for pair in pairs])
        return np.array(found).transpose(1, 0, 2)  # (L, 2, B) -> (2, L, B)

    def _signed_and_magnitudes(self, method: Method, raw: Maps) -> tuple[Maps, Maps]:
        magnitudes = self._maps(method, np.abs(raw), "max")
        return self._maps(method, raw, "mean"), magnitudes

    def _explain(
        self,
        asked: MethodToEvaluate,
        computing: Scorer | None,
        x: NDArray[np.generic],
        classes: NDArray[np.int64],
    ) -> Maps:
        """The attributions of rows, as the method gives them."""
        assert computing is not None
        return np.concatenate(
            [
                asked.method.explain(
                    computing, x[part], Objective(Targets(classes[part])), **asked.parameters
                ).attributions
                for part in _slices(len(x), computing.rows_at_once(x.shape[1:]))
            ]
        )

    def _maps(self, method: Method, raw: Maps, how: str) -> Maps:
        """Attributions (B, ., ., .) as maps (B, H, W)."""
        axis = self.scorer.channel_axis
        assert axis is not None
        if method.has_channels:
            raw = reduce_channels(raw, how, axis)
        return raw.squeeze(axis)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
