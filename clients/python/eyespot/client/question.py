"""What is asked of an explanation, and how one request after another asks it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from eyespot.client import answers, requests
from eyespot.client.errors import ClientError
from eyespot.client.explanation import Explanation, read_explanations
from eyespot.client.pictures import Picture
from eyespot.client.requests import Target
from eyespot.client.values import ModelConfig, ModelMetadata, Parameter
from eyespot.v1 import explain_pb2
from eyespot.v1.tensors import Array

_RANK_OF_PICTURES = 4  # rows, height, width and channels


class Asked(TypedDict, total=False):
    """What may be said in a question; `Client.explain` tells of each part."""

    method: str
    target: Target | Sequence[Target] | None
    like: Picture | Array | None
    top_k: int
    score: str
    channel_reduction: str | None
    encoding: str
    parameters: Mapping[str, Parameter] | None
    model_version: str


@dataclass(frozen=True, eq=False)
class Question:
    """What a caller of `explain` wants to know: what was said, and the usual where nothing was."""

    method: str = "saliency"
    target: Target | Sequence[Target] | None = None
    like: Picture | Array | None = None
    top_k: int = 1
    score: str = "logit"
    channel_reduction: str | None = None
    encoding: str = "raw"
    parameters: Mapping[str, Parameter] | None = None
    model_version: str = ""

    def targets_of(self, rows: int) -> list[Target]:
        """No target, one for all rows, or one for each.

        Raises:
            ClientError: So many targets cannot be for so many rows.
        """
        targets = requests.as_targets(self.target)
        if len(targets) not in (0, 1, rows):
            raise ClientError(
                f"target is one for all rows or one per row: found {len(targets)} for {rows} rows"
            )
        if self.like is not None and (targets or self.top_k > 1):
            raise ClientError("like is explained in place of a target: give one of them")
        if self.top_k < 1 or (self.top_k > 1 and targets):
            raise ClientError(
                f"top_k is 1 or more, and more than 1 only without a target: found {self.top_k}"
            )
        return targets

    def embedding_of(self, vectors: Array) -> NDArray[np.float32]:
        """The vector of the one picture that the others are compared with."""
        found = answers.read_embeddings(vectors)
        if len(found) != 1:
            raise ClientError(f"like is one picture, found {len(found)}")
        vector: NDArray[np.float32] = found[0].astype(np.float32, copy=False)
        return vector

    @property
    def like_name(self) -> str:
        """How that picture is called."""
        if isinstance(self.like, str | os.PathLike):
            return Path(self.like).name
        return "the embedding" if self.like is None else "the picture"


@dataclass(frozen=True, eq=False)
class Asking:
    """A question about some rows, with what is known of the model."""

    question: Question
    rows: Sequence[Picture | Array]
    targets: list[Target]
    metadata: ModelMetadata
    config: ModelConfig

    @property
    def channel_reduction(self) -> str:
        """That of the question, or the usual one."""
        rank = len(requests.only_input(self.metadata).shape)
        return self.question.channel_reduction or ("max" if rank == _RANK_OF_PICTURES else "none")

    def request(self, array: Array, start: int, stop: int) -> explain_pb2.ExplainRequest:
        """Ask about some of the rows, which are loaded."""
        return requests.explain_request(
            requests.by_name(array, self.metadata),
            self.metadata,
            model_version=self.question.model_version,
            method=self.question.method,
            targets=requests.targets_of_rows(self.targets, start, stop),
            top_k=self.question.top_k,
            score=self.question.score,
            channel_reduction=self.channel_reduction,
            parameters=self.question.parameters or {},
            encoding=self.question.encoding,
        )

    def read(
        self, response: explain_pb2.ExplainResponse, array: Array, start: int, stop: int
    ) -> list[Explanation]:
        """Read the answer about these rows."""
        return read_explanations(
            response,
            array,
            self.config,
            targets=requests.targets_of_rows(self.targets, start, stop),
            score_name=self.question.score,
            channel_reduction=self.channel_reduction,
            parameters=dict(self.question.parameters or {}),
            like=self.question.like_name,
        )
