"""What explains a model version: loaded after its session, compared with it; blocks.

Reading an original means importing PyTorch, which takes longer than all the rest: a model
is served before it can be explained.
"""

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyespot.server.config import ServerConfig
from eyespot.server.errors import (
    DeviceUnavailableError,
    NotExplainableError,
    RepositoryError,
    RequestError,
)
from eyespot.server.loaded_version import LoadedVersion, check_unchanged, fingerprint_of
from eyespot.server.model_config import ModelConfig
from eyespot.server.original_use import is_torch_installed
from eyespot.server.repository import check_gradient, damaged_gradients
from eyespot.server.session import Session, SessionSettings
from eyespot.server.session_config import read_session_settings
from eyespot.v1 import model_config_pb2
from eyespot.v1.manifest import ORIGINAL_FILE, Manifest

if TYPE_CHECKING:
    from eyespot.server.explainer import Backend, Explainer, RunGraph

Array = NDArray[np.generic]

_EXPLAINED_DATATYPES = ("FP32", "FP64", "UINT8")
_logger = logging.getLogger(__name__)
# One original at a time: reading it takes much memory, and torch's reader promises nothing
# about threads.
_original_lock = threading.Lock()


def load_explainer(loaded: LoadedVersion, settings: ServerConfig) -> "Explainer | RequestError":
    """Prepares what explains: the original, if there is one, and the session itself.

    Where nothing can be explained, the reason is the result.
    """
    config, session, manifest = loaded.config, loaded.session, loaded.manifest
    name = f"model {config.name!r} version {loaded.folder.model_version}"
    if settings.explain == "off":
        return NotExplainableError(f"{name}: the server was started with explain off")
    reason = _unfit_for_explaining(config)
    if reason:
        return NotExplainableError(f"{name} {reason}")
    from eyespot.server.explainer import Explainer, SessionScorer, sample_rows

    def run(inputs: Array) -> Array:
        return session.run({config.inputs[0].name: inputs}, [config.outputs[0].name])[
            config.outputs[0].name
        ]

    scorer = SessionScorer(
        run,
        output_shape=config.outputs[0].shape[1:],
        channel_axis=_channel_axis(manifest, config),
        max_rows=config.max_batch_size,
    )

    def reload() -> "Backend":
        check_unchanged(loaded)
        again, reason = _load_backend(loaded, run, settings, name)
        if again is None:
            raise RepositoryError(str(reason))
        return again

    backend, no_backend = _load_backend(loaded, run, settings, name)
    row_shape = config.inputs[0].shape[1:]
    return Explainer(
        config.name,
        backend=backend,
        scorer=scorer,
        no_backend=no_backend,
        row_shape=None if -1 in row_shape else tuple(row_shape),
        good_row=None if manifest is None else sample_rows(manifest.inputs[0])[:1],
        reload=reload,
    )


def _load_backend(
    loaded: LoadedVersion,
    logits_of: Callable[[Array], Array],
    settings: ServerConfig,
    name: str,
) -> "tuple[Backend | None, RequestError | None]":
    """Loads what computes gradients, and compares it with the session; without it, says why."""
    manifest = loaded.manifest
    if manifest is None:
        return None, NotExplainableError(
            f"{name} has no original.pt2: only what Eyespot exported can be differentiated"
        )
    reasons: list[RequestError] = []
    for load in _choices(loaded, manifest, settings, logits_of):
        try:
            backend = load()
        except RequestError as error:
            reasons.append(error)
        except Exception as error:
            _logger.exception("%s serves without gradients", name)
            reasons.append(NotExplainableError(f"{name}: what explains it is broken: {error}"))
        else:
            because = f": {reasons[0]}" if reasons else ""
            _logger.info("%s is explained by %s%s", name, backend.name, because)
            return backend, None
    # What is wrong with the first choice is what there is to be mended, or with the second.
    reason = type(reasons[0])("; without PyTorch: ".join(map(str, reasons)))
    _logger.warning("%s serves without gradients: %s", name, reason)
    return None, reason


def _choices(
    loaded: LoadedVersion,
    manifest: Manifest,
    settings: ServerConfig,
    logits_of: Callable[[Array], Array],
) -> "list[Callable[[], Backend]]":
    """What may compute gradients, the first choice first."""
    original = partial(_load_original, loaded, manifest, settings, logits_of)
    graphs = partial(_load_gradient_graphs, loaded, manifest, settings)
    choices: dict[str, list[Callable[[], Backend]]] = {
        "auto": [original, graphs],
        "torch": [original],
        "onnx": [graphs],
    }
    return choices[settings.explain_backend]


def _load_original(
    loaded: LoadedVersion,
    manifest: Manifest,
    settings: ServerConfig,
    logits_of: Callable[[Array], Array],
) -> "Backend":
    from eyespot.server.explainer import load_original, verify_original

    path = loaded.folder.original_path
    if ORIGINAL_FILE not in manifest.files and not path.exists():
        raise NotExplainableError(
            f"model {manifest.model_name!r} version {manifest.model_version} has no original.pt2: "
            "only what Eyespot exported can be differentiated"
        )
    with _original_lock:
        if is_torch_installed():
            what = "the original" if "torch" in sys.modules else "PyTorch and the original"
            _logger.info(
                "loading %s that explains model %r version %s; it answers meanwhile",
                what,
                manifest.model_name,
                manifest.model_version,
            )
        original = load_original(
            path,
            manifest,
            num_threads=settings.explain_threads,
            memory_mib=settings.explain_memory_mib,
            device=_device_of(loaded, settings),
        )
    verify_original(original, manifest, logits_of)
    return original


def _device_of(loaded: LoadedVersion, settings: ServerConfig) -> str:
    """Where the session of a version runs, in PyTorch's words."""
    defaults = SessionSettings(device=settings.device)
    session = read_session_settings(loaded.folder.config_file.message, defaults)
    return f"cuda:{session.device_id}" if session.device == "cuda" else session.device


def _load_gradient_graphs(
    loaded: LoadedVersion, manifest: Manifest, settings: ServerConfig
) -> "Backend":
    """Makes a backend of files that are opened when they are asked for.

    Nothing is computed to verify them: by their hashes they are those that the export compared.
    """
    from eyespot.server.explainer import load_gradient_graphs

    folder = loaded.folder.folder
    return load_gradient_graphs(
        folder,
        manifest,
        partial(_open_graph, loaded, manifest, settings),
        damaged=damaged_gradients(folder, manifest),
        memory_mib=settings.explain_memory_mib,
        is_sparing=settings.low_memory,
    )


def _open_graph(
    loaded: LoadedVersion, manifest: Manifest, settings: ServerConfig, path: Path
) -> "RunGraph":
    """Opens a gradient graph, perhaps long after the version was loaded.

    Raises:
        NotExplainableError: it cannot be opened, or the files are not those of the load any more.
    """
    try:
        if fingerprint_of(loaded.folder) != loaded.fingerprint:
            check_unchanged(loaded)
        check_gradient(path.parent, path.name, manifest)
        session = Session.open(path, _gradient_settings(loaded, settings))
    except (RepositoryError, DeviceUnavailableError) as error:
        raise NotExplainableError(
            f"model {manifest.model_name!r} version {manifest.model_version} cannot be explained "
            f"by {path.name}: {error}"
        ) from error

    def run(inputs: Mapping[str, Array], outputs: Sequence[str]) -> Mapping[str, Array]:
        return session.run(inputs, outputs)

    return run


def _gradient_settings(loaded: LoadedVersion, settings: ServerConfig) -> SessionSettings:
    """Leaves the weights where they lie, in pages of `model.onnx` that all sessions share.

    In an order of their own, there and back, each session would hold them twice more, and was no
    faster; in little memory convolutions go without a layout of their own, too.
    """
    defaults = SessionSettings(
        device=settings.device,
        optimization="extended" if settings.low_memory else "all",
        enable_cpu_mem_arena=not settings.low_memory,
        enable_mem_pattern=not settings.low_memory,
        enable_prepacking=False,
    )
    return read_session_settings(loaded.folder.config_file.message, defaults)._replace(
        intra_op_num_threads=settings.explain_threads,
    )


def _unfit_for_explaining(config: ModelConfig) -> str:
    """Why the scores of a graph cannot be explained; empty when they can."""
    if len(config.inputs) != 1:
        return f"has {len(config.inputs)} inputs, expected 1"
    given, output = config.inputs[0], config.outputs[0]
    if not config.max_batch_size:
        return "has no batch dimension, so no rows to explain"
    if given.datatype not in _EXPLAINED_DATATYPES:
        return f"takes {given.datatype}, expected one of {', '.join(_EXPLAINED_DATATYPES)}"
    classes = output.shape[{2: 1, 3: 2, 4: 1}.get(len(output.shape), 0)]
    if output.datatype != "FP32" or len(output.shape) not in (2, 3, 4) or classes < 1:
        return (
            f"gives {output.datatype} {list(output.shape)}, expected FP32 of a known number of "
            "classes: (batch, classes), (batch, steps, classes) or (batch, classes, height, width)"
        )
    return ""


def _channel_axis(manifest: Manifest | None, config: ModelConfig) -> int | None:
    """Of the first input; without a manifest, as config.pbtxt says, in doubt as in PyTorch."""
    if manifest is not None:
        return manifest.channel_axis
    if len(config.inputs[0].shape) != 4:
        return None
    message = model_config_pb2.ModelConfig.FromString(config.serialized)
    is_last = message.input and message.input[0].format == model_config_pb2.ModelInput.FORMAT_NHWC
    return 3 if is_last else 1
