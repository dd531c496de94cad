"""What requests bring, checked against the model before anything is queued.

No request can poison its neighbours in a batch: names, datatypes, shapes and sizes are
compared with the model's configuration here, and whatever does not fit is answered with
INVALID_ARGUMENT that says what was expected and what was found. The checks of a model
are prepared once, when it is first called.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyespot.server.errors import InvalidArgumentError, UnimplementedError
from eyespot.server.model_config import ModelConfig, TensorConfig
from eyespot.server.shared_memory import RegionPart, SharedMemory
from eyespot.v1.tensors import TensorError, decode, decode_contents

Array = NDArray[np.generic]

SALIENCY_OUTPUT = "saliency"

_REGION, _OFFSET, _BYTE_SIZE = (
    "shared_memory_region",
    "shared_memory_offset",
    "shared_memory_byte_size",
)
_REFUSED_OF_REQUEST = ("sequence_id", "sequence_start", "sequence_end")
_TIMEOUT, _PRIORITY = "timeout", "priority"
_CLASSIFICATION = "classification"


class RequestedOutput(NamedTuple):
    """An output that is asked for.

    `classification` is 0 or the number of classes wanted; `part` is where in shared memory
    it is put, if not into the answer.
    """

    name: str
    classification: int = 0
    part: RegionPart | None = None


class DecodedInputs(NamedTuple):
    """Inputs that fit the model; `key` tells apart what cannot share a batch.

    `timeout` is how many seconds they would wait to be run, `priority` 0 for the default.
    """

    arrays: dict[str, Array]
    rows: int
    key: Hashable
    timeout: float | None = None
    priority: int = 0


class Signature:
    """What one model takes and gives."""

    def __init__(self, config: ModelConfig, shared_memory: SharedMemory) -> None:
        self.shared_memory = shared_memory
        self.model_name = config.name
        self._all_outputs = tuple(RequestedOutput(output.name) for output in config.outputs)
        self.output_datatypes = {output.name: output.datatype for output in config.outputs}
        self._inputs = {spec.name: spec for spec in config.inputs}
        self._max_batch_size = config.max_batch_size
        first = 1 if config.max_batch_size else 0
        self._first = first
        # The sizes behind the batch dimension, where all are known: most requests are
        # checked by this one comparison.
        self._tails = {
            spec.name: spec.shape[first:] for spec in config.inputs if -1 not in spec.shape[first:]
        }
        self._varies = len(self._tails) < len(self._inputs)

    def read_inputs(self, request: Any) -> DecodedInputs:
        """Decodes the inputs of a ModelInferRequest or ExplainRequest.

        Raises:
            InvalidArgumentError: they do not fit the model.
            UnimplementedError: they ask for an extension that is not here.
        """
        # A list: each look into the message makes its objects anew.
        tensors, raws = list(request.inputs), request.raw_input_contents
        timeout, priority = None, 0
        if parameters := request.parameters:
            self._refuse_sequences(parameters)
            timeout, priority = _queueing_of(parameters)
        if len(tensors) != len(self._inputs):
            raise self._wrong_count(tensors)
        parts = [self._read_part(p) if (p := tensor.parameters) else None for tensor in tensors]
        if raws:
            self._check_raws(len(raws), tensors, parts)
        remaining = iter(raws)
        arrays: dict[str, Array] = {}
        rows = 1
        for tensor, part in zip(tensors, parts, strict=True):
            name = tensor.name
            raw = next(remaining, None) if part is None else self.shared_memory.read(part)
            array = self._read_input(name, tensor, raw)
            if arrays:
                self._check_beside(arrays, name, array, rows)
            if self._first:
                rows = array.shape[0]
            arrays[name] = array
        return DecodedInputs(arrays, rows, self._key(arrays), timeout, priority)

    def replace_inputs(self, decoded: DecodedInputs, arrays: dict[str, Array]) -> DecodedInputs:
        """Puts arrays that were made of a request's inputs, row by row, in their place.

        Raises:
            InvalidArgumentError: their shape does not fit the model.
        """
        for name, array in arrays.items():
            self._check_shape(self._inputs[name], array.shape)
        return decoded._replace(arrays=arrays, key=self._key(arrays))

    def split_outputs(self, requested: Sequence[Any]) -> tuple[Sequence[Any], Any | None]:
        """Part the outputs of the graph from `saliency`, which the explainer gives.

        A graph's own output of that name stays the graph's.
        """
        if not requested or SALIENCY_OUTPUT in self.output_datatypes:
            return requested, None
        asked = [output for output in requested if output.name == SALIENCY_OUTPUT]
        if not asked:
            return requested, None
        if len(asked) > 1:
            raise InvalidArgumentError(f"the request names '{SALIENCY_OUTPUT}' twice")
        return [output for output in requested if output.name != SALIENCY_OUTPUT], asked[0]

    def read_outputs(
        self, requested: Sequence[Any], *, others: Sequence[str] = ()
    ) -> Sequence[RequestedOutput]:
        """The outputs that a ModelInferRequest asks for; all when it names none.

        Args:
            requested: Of the request.
            others: Names of what is not the graph's and could be asked for too, to be told.
        """
        if not requested:
            return self._all_outputs
        outputs = [self._read_output(output, others) for output in requested]
        names = [output.name for output in outputs]
        if len(set(names)) != len(names):
            raise InvalidArgumentError(f"the request names an output twice: {_quoted(names)}")
        return outputs

    def _key(self, arrays: dict[str, Array]) -> Hashable:
        if not self._varies:
            return None
        return tuple((name, arrays[name].shape[1:]) for name in self._inputs)

    def _read_output(self, output: Any, others: Sequence[str]) -> RequestedOutput:
        if output.name not in self.output_datatypes:
            raise InvalidArgumentError(
                f"unexpected inference output '{output.name}' for model "
                f"'{self.model_name}'; it has {_quoted([*self.output_datatypes, *others])}"
            )
        if not output.parameters:
            return RequestedOutput(output.name)
        part = self._read_part(output.parameters)
        if _CLASSIFICATION not in output.parameters:
            return RequestedOutput(output.name, part=part)
        count = output.parameters[_CLASSIFICATION].int64_param
        if count < 1:
            raise InvalidArgumentError(
                f"classification of output '{output.name}' for model '{self.model_name}' is the "
                f"number of classes wanted, an int64 of at least 1"
            )
        return RequestedOutput(output.name, count, part)

    def _read_input(self, name: str, tensor: Any, raw: bytes | None) -> Array:
        spec = self._inputs.get(name)
        if spec is None:
            raise InvalidArgumentError(
                f"unexpected inference input '{name}' for model '{self.model_name}'; "
                f"it takes {_quoted(self._inputs)}"
            )
        datatype = spec.datatype
        if tensor.datatype != datatype:
            raise InvalidArgumentError(
                f"inference input '{name}' data-type is '{tensor.datatype}', but model "
                f"'{self.model_name}' expects '{datatype}'"
            )
        shape = tuple(tensor.shape)
        if shape[self._first :] != self._tails.get(name) or len(shape) != len(spec.shape):
            self._check_shape(spec, shape)
        if self._first and not 1 <= shape[0] <= self._max_batch_size:
            raise InvalidArgumentError(
                f"inference request batch-size must be from 1 to {self._max_batch_size} for "
                f"'{self.model_name}', got {shape[0]} in input '{name}'"
            )
        try:
            if raw is None:
                array = decode_contents(tensor.contents, datatype=datatype, shape=shape)
            else:
                array = decode(raw, datatype=datatype, shape=shape)
        except TensorError as error:
            raise InvalidArgumentError(
                f"input '{name}' for model '{self.model_name}': {error}"
            ) from error
        if spec.symbols and array.size:
            self._check_symbols(spec, array)
        return _to_text(array, name) if datatype == "BYTES" and spec.is_text else array

    def _read_part(self, parameters: Any) -> RegionPart | None:
        """The part of shared memory that the parameters of a tensor name; it is there."""
        if _REGION not in parameters:
            return None
        part = RegionPart(
            region=parameters[_REGION].string_param,
            offset=parameters[_OFFSET].int64_param if _OFFSET in parameters else 0,
            byte_size=parameters[_BYTE_SIZE].int64_param if _BYTE_SIZE in parameters else 0,
        )
        self.shared_memory.check(part)
        return part

    def _check_shape(self, spec: TensorConfig, shape: tuple[int, ...]) -> None:
        fits = len(shape) == len(spec.shape) and all(
            found > 0 and expected in (-1, found)
            for expected, found in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            raise InvalidArgumentError(
                f"unexpected shape for input '{spec.name}' for model '{self.model_name}'. "
                f"Expected {_listed(spec.shape)}, got {_listed(shape)}"
            )
        if any(found < least for found, least in zip(shape, spec.smallest, strict=False)):
            raise InvalidArgumentError(
                f"input '{spec.name}' of shape {_listed(shape)} is too small for model "
                f"'{self.model_name}': the smallest is {_listed(spec.smallest)}"
            )

    def _check_symbols(self, spec: TensorConfig, array: Array) -> None:
        """A graph may take a symbol that there is not for another one, without a word."""
        least, most = int(array.min()), int(array.max())
        if least < 0 or most >= spec.symbols:
            raise InvalidArgumentError(
                f"input '{spec.name}' for model '{self.model_name}' holds symbols from 0 to "
                f"{spec.symbols - 1}, found {least if least < 0 else most}"
            )

    def _check_beside(self, arrays: dict[str, Array], name: str, array: Array, rows: int) -> None:
        """Make sure that an input fits those before it."""
        if name in arrays:
            raise InvalidArgumentError(
                f"input '{name}' appears twice in the request for model '{self.model_name}'"
            )
        if self._first and array.shape[0] != rows:
            raise InvalidArgumentError(
                f"input '{name}' for model '{self.model_name}' has {array.shape[0]} rows, "
                f"those before it have {rows}; expected the same in all"
            )

    def _check_raws(
        self, found: int, tensors: Sequence[Any], parts: Sequence[RegionPart | None]
    ) -> None:
        """Make sure that raw contents are those of the inputs that are not elsewhere."""
        for tensor in tensors:
            if tensor.HasField("contents"):
                raise InvalidArgumentError(
                    "contents field must not be specified when using raw_input_contents for "
                    f"'{tensor.name}' for model '{self.model_name}'"
                )
        in_message = parts.count(None)
        if found != in_message:
            raise InvalidArgumentError(
                f"expected {in_message} raw_input_contents, one for each input that is not in "
                f"shared memory, but got {found} for model '{self.model_name}'"
            )

    def _wrong_count(self, tensors: Sequence[Any]) -> InvalidArgumentError:
        found = [tensor.name for tensor in tensors]
        missing = [name for name in self._inputs if name not in found]
        unexpected = [name for name in found if name not in self._inputs]
        told = f"; missing: {_quoted(missing)}" if missing else ""
        told += f"; unexpected: {_quoted(unexpected)}" if unexpected else ""
        return InvalidArgumentError(
            f"expected {len(self._inputs)} inputs but got {len(tensors)} inputs for model "
            f"'{self.model_name}'{told}"
        )

    def _refuse_sequences(self, parameters: Any) -> None:
        """Ignored silently, these would give another answer than was asked for."""
        for name in _REFUSED_OF_REQUEST:
            if name in parameters:
                raise UnimplementedError(
                    f"the parameter '{name}' asks for a protocol extension that this server "
                    f"does not have (model '{self.model_name}'); leave it out"
                )


def _queueing_of(parameters: Any) -> tuple[float | None, int]:
    """How many seconds a request would wait, and its priority."""
    microseconds = parameters[_TIMEOUT].int64_param if _TIMEOUT in parameters else 0
    priority = 0
    if _PRIORITY in parameters:  # clients write it as either
        told = parameters[_PRIORITY]
        priority = told.uint64_param or max(told.int64_param, 0)
    return (microseconds / 1e6 if microseconds > 0 else None), priority


def write_part(parameters: Any, part: RegionPart) -> None:
    """Tells in the parameters of an output where in shared memory it was put."""
    parameters[_REGION].string_param = part.region
    parameters[_OFFSET].int64_param = part.offset
    parameters[_BYTE_SIZE].int64_param = part.byte_size


def _to_text(array: Array, name: str) -> Array:
    """ONNX's strings are UTF-8, the protocol's BYTES are anything."""
    texts = np.empty(array.size, object)
    for index, element in enumerate(array.ravel().tolist()):
        try:
            texts[index] = element.decode()
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(
                f"element {index} of input '{name}' is not UTF-8, as ONNX strings are: {error}"
            ) from error
    return texts.reshape(array.shape)


def _quoted(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _listed(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
