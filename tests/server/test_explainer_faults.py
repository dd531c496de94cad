"""Faults of what explains: the thread, the original, memory; and who hears of them."""

import numpy as np
import pytest
from tests.server.batching import FakeClock
from tests.server.explaining import WEIGHT, LinearBackend, call

from eyespot.server.errors import CircuitOpenError, RepositoryError, ResourceExhaustedError
from eyespot.server.explainer import ExplainCall, Explainer, SessionScorer, Targets

_BOTH_KINDS = pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])


class FaultyBackend(LinearBackend):
    """Raises `error` as often as it is told to."""

    def __init__(self, error=None, times=-1):
        super().__init__()
        self.error = error
        self.times = times  # -1: always
        self.bad_above = np.inf

    def gradients(self, x, *arguments, **options):
        if self.error is not None and self.times:
            self.times -= 1
            raise self.error
        if (x > self.bad_above).any():
            raise ArithmeticError("a row that it cannot take")
        return super().gradients(x, *arguments, **options)


class Explaining:
    """An explainer whose original breaks; it can be had anew, unless `reload_error` is set."""

    def __init__(self, error=None, times=-1):
        self.clock = FakeClock()
        self.reloads = 0
        self.reload_error = None
        zeros = SessionScorer(
            lambda x: np.zeros((len(x), 2), np.float32),
            output_shape=(2,),
            channel_axis=1,
            max_rows=4,
        )
        self.explainer = Explainer(
            "tiny",
            backend=FaultyBackend(error, times),
            scorer=zeros,
            good_row=np.ones((1, 2, 3), np.float32),
            reload=self._reload,
            clock=self.clock,
        )

    def _reload(self):
        self.reloads += 1
        if self.reload_error:
            raise self.reload_error
        return FaultyBackend()

    async def explain(self, method="saliency", **arguments):
        targets = Targets(np.array([0]))
        explained = await self.explainer.explain(call(targets=targets, method=method, **arguments))
        return explained.attributions


@pytest.fixture
def make():
    made = []

    def make(*arguments):
        made.append(Explaining(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.explainer.close()


@_BOTH_KINDS
async def test_a_broken_original_is_loaded_anew_and_the_caller_does_not_hear_of_it(make, method):
    explaining = make(RuntimeError("CUDA error: an illegal memory access was encountered"))
    # Of a linear network, what either method finds on ones is the weights.
    np.testing.assert_allclose(await explaining.explain(method), [WEIGHT[0]], rtol=1e-6)
    assert explaining.reloads == 1
    assert explaining.explainer.faults == {"run": 1}


@_BOTH_KINDS
async def test_a_row_that_the_original_fails_on_is_its_callers_affair(make, method):
    explaining = make()
    explaining.explainer._guarded.backend.bad_above = 7
    for _ in range(4):
        with pytest.raises(ArithmeticError):
            await explaining.explain(method, first=99.0)
    assert explaining.reloads == 0
    np.testing.assert_allclose(await explaining.explain(method), [WEIGHT[0]], rtol=1e-6)


@_BOTH_KINDS
async def test_a_call_whose_thread_dies_is_tried_once_more(make, method):
    explaining = make(SystemExit(), 1)
    np.testing.assert_allclose(await explaining.explain(method), [WEIGHT[0]], rtol=1e-6)
    assert explaining.explainer.faults == {"thread": 1}
    assert explaining.reloads == 0


async def test_while_the_original_is_beyond_mending_the_rest_goes_on_until_it_is_well(make):
    explaining = make(RuntimeError("broken"))
    explaining.reload_error = RepositoryError("original.pt2 cannot be read")
    with pytest.raises(CircuitOpenError, match=r"'tiny': it cannot be made .*original\.pt2"):
        await explaining.explain()
    with pytest.raises(CircuitOpenError, match=r"in 1\.0 s") as caught:
        explaining.explainer.check_method("saliency")
    assert caught.value.wait_seconds == 1
    methods = {method.name: method for method in explaining.explainer.methods()}
    assert not methods["saliency"].available
    assert "original.pt2 cannot be read" in methods["saliency"].reason
    assert methods["rise"].available
    pixels = np.ones((1, 1, 2, 2), np.float32)
    by_session = ExplainCall(
        pixels, Targets(np.array([0])), method="occlusion", parameters={"window": 1}
    )
    assert not (await explaining.explainer.explain(by_session)).attributions.any()
    explaining.reload_error = None
    explaining.clock.advance(1)
    await explaining.explainer._guarded.guard._healing
    np.testing.assert_array_equal(await explaining.explain(), [WEIGHT[0]])


@_BOTH_KINDS
@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15 GiB",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
    ],
)
async def test_a_lack_of_memory_is_told_and_nothing_is_loaded_anew(make, method, message):
    explaining = make(RuntimeError(message))
    with pytest.raises(ResourceExhaustedError, match="more memory than there is"):
        await explaining.explain(method)
    assert explaining.reloads == 0
