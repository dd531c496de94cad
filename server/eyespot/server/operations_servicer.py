"""`inference.GRPCInferenceService`, the operator's part: repository, shared memory, log, traces."""

# ruff: noqa: N802, D102 -- the methods bear the names of the RPCs, which the .proto explains

from typing import Any

from eyespot.server.answering import answering
from eyespot.server.callers import Right, current_caller
from eyespot.server.dataplane import Dataplane, ModelState
from eyespot.server.entrances import Entrances
from eyespot.server.errors import InvalidArgumentError, PermissionDeniedError, UnimplementedError
from eyespot.server.loader import Loader
from eyespot.server.logs import Log
from eyespot.server.settings_decoding import (
    read_log_settings,
    read_trace_changes,
    write_log_settings,
    write_trace_settings,
)
from eyespot.server.shared_memory import CudaRegion, Region, SharedMemory
from eyespot.server.tracing import Tracing
from eyespot.v1 import inference_pb2 as pb

_FILE = "file:"
_LONGEST_NAME = 255  # of one component of a path


class OperationsServicer:
    """Answers those who run the server, on its event loop."""

    def __init__(
        self,
        dataplane: Dataplane,
        loader: Loader,
        *,
        entrances: Entrances,
        shared_memory: SharedMemory,
        log: Log,
        tracing: Tracing,
    ) -> None:
        self._dataplane = dataplane
        self._loader = loader
        self._entrances = entrances
        self._shared_memory = shared_memory
        self._log = log
        self._tracing = tracing

    @answering
    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Any) -> Any:
        response = pb.RepositoryIndexResponse()
        for entry in self._dataplane.index():
            if entry.state is ModelState.READY or not request.ready:
                response.models.add(
                    name=entry.model_name,
                    version=entry.model_version,
                    state=entry.state.value,
                    reason=entry.reason,
                    derivation=entry.derivation,
                    explainer_is_loading=self._dataplane.explainer_is_loading(
                        entry.model_name, entry.model_version
                    ),
                )
            if entry.state is ModelState.READY:
                model = self._dataplane.model(entry.model_name, entry.model_version)
                if name := self._entrances.picture_name(model):
                    response.models.add(
                        name=name,
                        version=entry.model_version,
                        state=entry.state.value,
                        takes_pictures_for=entry.model_name,
                    )
        if not request.ready:  # as Triton tells them: by name alone
            for name in await self._loader.never_loaded():
                response.models.add(name=name)
        return response

    @answering
    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Any
    ) -> Any:
        failed = f"failed to load '{request.model_name}'"
        files = {}
        config = None
        for name, value in request.parameters.items():
            if name == "config":
                config = value.string_param
            elif name.startswith(_FILE):
                files[_path_of(name, failed)] = value.bytes_param
            else:
                raise UnimplementedError(f"{failed}, the parameter '{name}' is not honoured")
        if files and config is None:
            raise InvalidArgumentError(f"{failed}, files come with the parameter 'config'")
        await self._loader.load(request.model_name, config=config, files=files)
        return pb.RepositoryModelLoadResponse()

    @answering
    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Any
    ) -> Any:
        await self._loader.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    @answering
    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Any
    ) -> Any:
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self._shared_memory.status(request.name):
            told = response.regions[region.name]
            told.name, told.key = region.name, region.key
            told.offset, told.byte_size = region.offset, region.byte_size
        return response

    @answering
    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Any
    ) -> Any:
        self._shared_memory.register(
            Region(request.name, request.key, request.offset, request.byte_size)
        )
        return pb.SystemSharedMemoryRegisterResponse()

    @answering
    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Any
    ) -> Any:
        self._shared_memory.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    @answering
    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, context: Any
    ) -> Any:
        response = pb.CudaSharedMemoryStatusResponse()
        for region in self._shared_memory.cuda_status(request.name):
            told = response.regions[region.name]
            told.name, told.device_id, told.byte_size = (
                region.name,
                region.device_id,
                region.byte_size,
            )
        return response

    @answering
    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, context: Any
    ) -> Any:
        self._shared_memory.register_cuda(
            CudaRegion(request.name, request.device_id, request.byte_size), request.raw_handle
        )
        return pb.CudaSharedMemoryRegisterResponse()

    @answering
    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, context: Any
    ) -> Any:
        # Done where nothing can be registered, too: clients of the system's begin with it.
        self._shared_memory.unregister_cuda(request.name)
        return pb.CudaSharedMemoryUnregisterResponse()

    @answering
    async def TraceSetting(self, request: pb.TraceSettingRequest, context: Any) -> Any:
        name = request.model_name
        if name:
            self._dataplane.model(name)
        if request.settings:
            _must_change_settings()
            await self._tracing.change(read_trace_changes(request.settings), model_name=name)
        return pb.TraceSettingResponse(
            settings=write_trace_settings(self._tracing.settings(name), self._tracing.endpoint)
        )

    @answering
    async def LogSettings(self, request: pb.LogSettingsRequest, context: Any) -> Any:
        if request.settings:
            _must_change_settings()
            self._log.change(
                read_log_settings(
                    request.settings, now=self._log.settings, at_start=self._log.at_start
                )
            )
        return pb.LogSettingsResponse(settings=write_log_settings(self._log.settings))


def _must_change_settings() -> None:
    try:
        current_caller().must_have(Right.ADMIN)
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            "settings are changed with an admin token, at the admin port, or where the server "
            "was started with --settings-calls"
        ) from error


def _path_of(parameter: str, failed: str) -> str:
    """The path that a parameter `file:...` names, within the folder of the model."""
    path = parameter.removeprefix(_FILE)
    parts = path.split("/")
    if any(
        part in ("", ".", "..") or "\0" in part or len(part.encode()) > _LONGEST_NAME
        for part in parts
    ):
        shown = path if len(path) <= 80 else path[:80] + "..."
        raise InvalidArgumentError(
            f"{failed}, Invalid file path '{shown}': expected one within the folder of the model, "
            "such as 1/model.onnx"
        )
    return path
