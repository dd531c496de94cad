"""A linear network whose attributions are known by hand, and calls about it."""

import asyncio
import threading

import numpy as np

from eyespot.saliency import Gradients, LayerError, MemoryBoundError, UnavailableMethodError
from eyespot.server.explainer import (
    ExplainCall,
)
from eyespot.v1.manifest import Manifest, ParityReport, Provenance, TensorSpec

# (K, C, L): two classes on two channels of three elements
WEIGHT = np.array(
    [[[1, -2, 3], [-4, 1, 0]], [[0, 0, 1], [2, -1, -1]]],
    np.float32,
)


ROW = np.ones((1, 2, 3), np.float32)  # logits -1 and 1


class LinearBackend:
    """z = W x in numpy; waits at `gate` and records the rows of each batch."""

    name = "numpy"
    output_shape = (2,)
    channel_axis = 1

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.batches = []
        self.fails_on = None
        self.most = 2

    def rows_at_once(self, row_shape):
        if row_shape[-1] > 3:
            raise MemoryBoundError("one row takes about 9 MiB")
        return self.most

    def scores(self, x):
        return np.einsum("bcl,kcl->bk", x, WEIGHT).astype(np.float32)

    def gradients(self, x, objective, *, rectifier="derivative", layer=None):
        self.batches.append(x[:, 0, 0].tolist())
        self.started.release()
        self.gate.wait()
        if self.fails_on in x:
            raise ArithmeticError("no such input")
        scored = objective(self.scores(x))
        gradients = np.einsum("nk,kcl->ncl", scored.derivatives, WEIGHT)
        return Gradients(scored.classes, scored.values, gradients, x)

    def layers(self):
        return ()

    def find_layer(self, name):
        raise LayerError("no maps")

    def linear_head(self):
        raise UnavailableMethodError("no head")

    def check_rectifiers(self):
        pass

    def check_multipliers(self):
        raise UnavailableMethodError("deep_lift has no rule for einsum")

    check_relevance = check_multipliers


def manifest(**changes):
    made = Manifest(
        model_name="tiny",
        model_version="1",
        provenance=Provenance(architecture="Tiny"),
        inputs=(TensorSpec("input", "FP32", ("batch", 2, 3)),),
        outputs=(TensorSpec("logits", "FP32", ("batch", 2)),),
        channel_axis=1,
        gradient_node="x",
        preprocessing=None,
        parity=ParityReport(atol=1e-4, rtol=1e-3, cases=()),
        opset_version=18,
        parameter_count=12,
        files={},
        library_versions={},
    )
    return made._replace(**changes)


def call(first=1.0, rows=1, **arguments):
    inputs = np.repeat(ROW, rows, axis=0)
    inputs[:, 0, 0] = first
    return ExplainCall(inputs=inputs, **arguments)


async def begin(backend, explainer, *calls):
    """Start calls while the explainer's thread is held up in an earlier one."""
    backend.gate.clear()
    tasks = [asyncio.create_task(explainer.explain(call(first=0.0)))]
    await asyncio.to_thread(backend.started.acquire)
    tasks += [asyncio.create_task(explainer.explain(each)) for each in calls]
    for _ in range(4):
        await asyncio.sleep(0)
    return tasks
