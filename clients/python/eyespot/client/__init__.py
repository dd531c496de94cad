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
    PermissionDeniedError,
    PictureError,
    ResourceExhaustedError,
    ServerError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from eyespot.client.explanation import Explanation
from eyespot.client.flow_picture import flow_picture
from eyespot.client.segmentation import ClassShare, Segmentation
from eyespot.client.values import (
    Classification,
    Duration,
    ExplainTarget,
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
    "ExplainTarget",
    "Explanation",
    "EyespotError",
    "FailedPreconditionError",
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
    "PermissionDeniedError",
    "PictureError",
    "ResourceExhaustedError",
    "Segmentation",
    "ServerError",
    "ServerMetadata",
    "TensorMetadata",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "flow_picture",
]
