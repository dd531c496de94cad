"""The client: pictures and arrays in, answers and explanations out."""

from eyespot.client.asyncio_client import AsyncClient
from eyespot.client.blocking_client import Client
from eyespot.client.errors import (
    AnswerError,
    ClientError,
    DeadlineExceededError,
    EyespotError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PictureError,
    ResourceExhaustedError,
    ServerError,
    UnavailableError,
    UnimplementedError,
)
from eyespot.client.explanation import ExplainProgress, Explanation
from eyespot.client.flow_picture import flow_picture
from eyespot.client.segmentation import ClassShare, Segmentation
from eyespot.client.values import (
    Classification,
    Duration,
    ExplainTarget,
    Histogram,
    InferResult,
    MethodDescription,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ModelStatus,
    ParameterDescription,
    ServerMetadata,
    TensorMetadata,
)

__all__ = [
    "AnswerError",
    "AsyncClient",
    "ClassShare",
    "Classification",
    "Client",
    "ClientError",
    "DeadlineExceededError",
    "Duration",
    "ExplainProgress",
    "ExplainTarget",
    "Explanation",
    "EyespotError",
    "FailedPreconditionError",
    "Histogram",
    "InferResult",
    "InternalError",
    "InvalidArgumentError",
    "MethodDescription",
    "ModelConfig",
    "ModelMetadata",
    "ModelStatistics",
    "ModelStatus",
    "NotFoundError",
    "ParameterDescription",
    "PictureError",
    "ResourceExhaustedError",
    "Segmentation",
    "ServerError",
    "ServerMetadata",
    "TensorMetadata",
    "UnavailableError",
    "UnimplementedError",
    "flow_picture",
]
