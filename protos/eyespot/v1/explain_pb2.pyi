from eyespot.v1 import inference_pb2 as _inference_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Score(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORE_UNSPECIFIED: _ClassVar[Score]
    SCORE_LOGIT: _ClassVar[Score]
    SCORE_PROBABILITY: _ClassVar[Score]
    SCORE_BINARY_LOGIT: _ClassVar[Score]
    SCORE_BINARY_PROBABILITY: _ClassVar[Score]

class ChannelReduction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANNEL_REDUCTION_UNSPECIFIED: _ClassVar[ChannelReduction]
    CHANNEL_REDUCTION_NONE: _ClassVar[ChannelReduction]
    CHANNEL_REDUCTION_MAX: _ClassVar[ChannelReduction]
    CHANNEL_REDUCTION_MEAN: _ClassVar[ChannelReduction]

class AttributionEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTRIBUTION_ENCODING_UNSPECIFIED: _ClassVar[AttributionEncoding]
    ATTRIBUTION_ENCODING_RAW: _ClassVar[AttributionEncoding]
    ATTRIBUTION_ENCODING_PNG: _ClassVar[AttributionEncoding]
SCORE_UNSPECIFIED: Score
SCORE_LOGIT: Score
SCORE_PROBABILITY: Score
SCORE_BINARY_LOGIT: Score
SCORE_BINARY_PROBABILITY: Score
CHANNEL_REDUCTION_UNSPECIFIED: ChannelReduction
CHANNEL_REDUCTION_NONE: ChannelReduction
CHANNEL_REDUCTION_MAX: ChannelReduction
CHANNEL_REDUCTION_MEAN: ChannelReduction
ATTRIBUTION_ENCODING_UNSPECIFIED: AttributionEncoding
ATTRIBUTION_ENCODING_RAW: AttributionEncoding
ATTRIBUTION_ENCODING_PNG: AttributionEncoding

class ExplainTarget(_message.Message):
    __slots__ = ("index", "label", "against_index", "against_label", "step", "region", "region_shape", "embedding")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    AGAINST_INDEX_FIELD_NUMBER: _ClassVar[int]
    AGAINST_LABEL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    REGION_SHAPE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    against_index: int
    against_label: str
    step: int
    region: bytes
    region_shape: _containers.RepeatedScalarFieldContainer[int]
    embedding: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ..., against_index: _Optional[int] = ..., against_label: _Optional[str] = ..., step: _Optional[int] = ..., region: _Optional[bytes] = ..., region_shape: _Optional[_Iterable[int]] = ..., embedding: _Optional[_Iterable[float]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "id", "method", "parameters", "inputs", "raw_input_contents", "targets", "channel_reduction", "score", "targets_per_row", "encoding")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _inference_pb2.InferParameter
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_inference_pb2.InferParameter, _Mapping]] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    RAW_INPUT_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_REDUCTION_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TARGETS_PER_ROW_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    id: str
    method: str
    parameters: _containers.MessageMap[str, _inference_pb2.InferParameter]
    inputs: _containers.RepeatedCompositeFieldContainer[_inference_pb2.ModelInferRequest.InferInputTensor]
    raw_input_contents: _containers.RepeatedScalarFieldContainer[bytes]
    targets: _containers.RepeatedCompositeFieldContainer[ExplainTarget]
    channel_reduction: ChannelReduction
    score: Score
    targets_per_row: int
    encoding: AttributionEncoding
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., id: _Optional[str] = ..., method: _Optional[str] = ..., parameters: _Optional[_Mapping[str, _inference_pb2.InferParameter]] = ..., inputs: _Optional[_Iterable[_Union[_inference_pb2.ModelInferRequest.InferInputTensor, _Mapping]]] = ..., raw_input_contents: _Optional[_Iterable[bytes]] = ..., targets: _Optional[_Iterable[_Union[ExplainTarget, _Mapping]]] = ..., channel_reduction: _Optional[_Union[ChannelReduction, str]] = ..., score: _Optional[_Union[Score, str]] = ..., targets_per_row: _Optional[int] = ..., encoding: _Optional[_Union[AttributionEncoding, str]] = ...) -> None: ...

class RowExplanation(_message.Message):
    __slots__ = ("target", "label", "score", "reports", "row", "png", "minimum", "maximum")
    class ReportsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    TARGET_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    PNG_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    target: int
    label: str
    score: float
    reports: _containers.ScalarMap[str, float]
    row: int
    png: bytes
    minimum: float
    maximum: float
    def __init__(self, target: _Optional[int] = ..., label: _Optional[str] = ..., score: _Optional[float] = ..., reports: _Optional[_Mapping[str, float]] = ..., row: _Optional[int] = ..., png: _Optional[bytes] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ...) -> None: ...

class ExplainedOriginal(_message.Message):
    __slots__ = ("model_name", "model_version", "derivation", "top1_agreement", "pictures")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DERIVATION_FIELD_NUMBER: _ClassVar[int]
    TOP1_AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    derivation: str
    top1_agreement: float
    pictures: int
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., derivation: _Optional[str] = ..., top1_agreement: _Optional[float] = ..., pictures: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("model_name", "model_version", "id", "method", "parameters", "rows", "attributions", "raw_output_contents", "backend", "explained_original")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _inference_pb2.InferParameter
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_inference_pb2.InferParameter, _Mapping]] = ...) -> None: ...
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTIONS_FIELD_NUMBER: _ClassVar[int]
    RAW_OUTPUT_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    EXPLAINED_ORIGINAL_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    id: str
    method: str
    parameters: _containers.MessageMap[str, _inference_pb2.InferParameter]
    rows: _containers.RepeatedCompositeFieldContainer[RowExplanation]
    attributions: _inference_pb2.ModelInferResponse.InferOutputTensor
    raw_output_contents: _containers.RepeatedScalarFieldContainer[bytes]
    backend: str
    explained_original: ExplainedOriginal
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., id: _Optional[str] = ..., method: _Optional[str] = ..., parameters: _Optional[_Mapping[str, _inference_pb2.InferParameter]] = ..., rows: _Optional[_Iterable[_Union[RowExplanation, _Mapping]]] = ..., attributions: _Optional[_Union[_inference_pb2.ModelInferResponse.InferOutputTensor, _Mapping]] = ..., raw_output_contents: _Optional[_Iterable[bytes]] = ..., backend: _Optional[str] = ..., explained_original: _Optional[_Union[ExplainedOriginal, _Mapping]] = ...) -> None: ...

class ExplainStreamResponse(_message.Message):
    __slots__ = ("progress", "explain_response")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    progress: float
    explain_response: ExplainResponse
    def __init__(self, progress: _Optional[float] = ..., explain_response: _Optional[_Union[ExplainResponse, _Mapping]] = ...) -> None: ...

class ListMethodsRequest(_message.Message):
    __slots__ = ("model_name", "model_version")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class MethodParameter(_message.Message):
    __slots__ = ("name", "type", "description", "default_value", "minimum", "maximum", "choices")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_VALUE_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    description: str
    default_value: _inference_pb2.InferParameter
    minimum: _inference_pb2.InferParameter
    maximum: _inference_pb2.InferParameter
    choices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., description: _Optional[str] = ..., default_value: _Optional[_Union[_inference_pb2.InferParameter, _Mapping]] = ..., minimum: _Optional[_Union[_inference_pb2.InferParameter, _Mapping]] = ..., maximum: _Optional[_Union[_inference_pb2.InferParameter, _Mapping]] = ..., choices: _Optional[_Iterable[str]] = ...) -> None: ...

class SaliencyMethod(_message.Message):
    __slots__ = ("name", "paper", "available", "reason", "parameters", "forward_passes", "scales_with")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAPER_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    FORWARD_PASSES_FIELD_NUMBER: _ClassVar[int]
    SCALES_WITH_FIELD_NUMBER: _ClassVar[int]
    name: str
    paper: str
    available: bool
    reason: str
    parameters: _containers.RepeatedCompositeFieldContainer[MethodParameter]
    forward_passes: float
    scales_with: str
    def __init__(self, name: _Optional[str] = ..., paper: _Optional[str] = ..., available: bool = ..., reason: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[MethodParameter, _Mapping]]] = ..., forward_passes: _Optional[float] = ..., scales_with: _Optional[str] = ...) -> None: ...

class SpatialLayer(_message.Message):
    __slots__ = ("name", "shape", "is_default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    is_default: bool
    def __init__(self, name: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., is_default: bool = ...) -> None: ...

class ListMethodsResponse(_message.Message):
    __slots__ = ("model_name", "model_version", "backend", "methods", "layers")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    backend: str
    methods: _containers.RepeatedCompositeFieldContainer[SaliencyMethod]
    layers: _containers.RepeatedCompositeFieldContainer[SpatialLayer]
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., backend: _Optional[str] = ..., methods: _Optional[_Iterable[_Union[SaliencyMethod, _Mapping]]] = ..., layers: _Optional[_Iterable[_Union[SpatialLayer, _Mapping]]] = ...) -> None: ...
