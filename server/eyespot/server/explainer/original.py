"""The PyTorch original of a model version: loaded, and compared with what is served."""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from eyespot.saliency import Backend, OriginalError, Scorer
from eyespot.server.errors import ExplainUnavailableError, NotExplainableError
from eyespot.v1.manifest import Manifest, TensorSpec
from eyespot.v1.tensors import DATATYPES

Array = NDArray[np.generic]

_VERIFY_ROWS = 2
_VERIFY_SEED = 2014
# For a size that varies: large enough for most networks.
_VERIFY_SIZE = 64
# What an export allows; for a manifest without a parity report of its own.
_ATOL, _RTOL = 0.0, 1e-4


def load_original(
    original_path: str | os.PathLike[str],
    manifest: Manifest,
    *,
    num_threads: int = 1,
    memory_mib: int | None = None,
    device: str = "cpu",
) -> Backend:
    """Read the original of a model version; blocks, and imports torch.

    Args:
        original_path: of its file.
        manifest: of the model version.
        num_threads: of each operator on the CPU.
        memory_mib: most memory that one call may take beside the weights.
        device: such as "cuda:0"; where PyTorch cannot use it, the CPU computes.

    Raises:
        ExplainUnavailableError: torch is not installed.
        NotExplainableError: the original cannot be read, or not be differentiated.
    """
    name = f"model {manifest.model_name!r} version {manifest.model_version}"
    if manifest.gradient_node is None:
        raise NotExplainableError(f"{name}: its manifest names no gradient_node")
    try:
        from eyespot.saliency.torch_backend import TorchBackend
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ExplainUnavailableError(
            "saliency needs PyTorch, which is not installed: pip install 'eyespot[explain]'"
        ) from error
    try:
        return TorchBackend.load(
            original_path,
            gradient_node=manifest.gradient_node,
            channel_axis=manifest.channel_axis,
            num_threads=num_threads,
            memory_mib=memory_mib,
            device=device,
        )
    except OriginalError as error:
        raise NotExplainableError(f"{name} cannot be explained: {error}") from error


def verify_original(
    original: Scorer, manifest: Manifest, logits_of: Callable[[Array], Array]
) -> None:
    """Check that the original is the network that is served; blocks.

    Args:
        original: what was loaded.
        manifest: of the model version.
        logits_of: what the session answers for an input.

    Raises:
        NotExplainableError: their outputs differ by more than the export allowed.
    """
    parity = manifest.parity
    atol, rtol = (parity.atol, parity.rtol) if parity else (_ATOL, _RTOL)
    x = sample_rows(manifest.inputs[0])
    expected, served = original.scores(x), np.asarray(logits_of(x), np.float32)
    name = f"model {manifest.model_name!r} version {manifest.model_version}"
    if served.shape != expected.shape:
        raise NotExplainableError(
            f"{name} cannot be explained: its session gives {list(served.shape)}, its original "
            f"{list(expected.shape)}; export the model again"
        )
    scale = float(np.abs(expected).max())
    difference = float(np.abs(served - expected).max())
    allowed = atol + rtol * scale
    if not difference <= allowed:  # a NaN is a disagreement too
        raise NotExplainableError(
            f"{name} cannot be explained: its original and its session differ by "
            f"{difference:.3g}, where {allowed:.3g} is allowed (outputs up to {scale:.3g}); "
            "the pair on disk is not of one export, so export the model again"
        )


def sample_rows(spec: TensorSpec) -> Array:
    """Two rows of noise that an input takes, the same at every start."""
    sizes = [size if isinstance(size, int) and size > 0 else _VERIFY_SIZE for size in spec.shape]
    random = np.random.default_rng(_VERIFY_SEED)
    shape = (_VERIFY_ROWS, *sizes[1:])
    dtype = DATATYPES[spec.datatype].numpy
    if dtype.kind in "iu":
        return random.integers(0, 256, shape).astype(dtype)
    return random.standard_normal(shape).astype(dtype)
