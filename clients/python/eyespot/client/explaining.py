"""Asking what made a model say so: batch by batch, or with what is known meanwhile.

A server that goes away in the middle loses no more than the batch that it was asked about. What was
found of others is kept; that batch is asked about anew, and refined from its beginning, of which
the caller hears nothing before it has come further than it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from eyespot.client import answers, requests
from eyespot.client.explanation import ExplainProgress, Explanation
from eyespot.client.inferring import Inferring
from eyespot.client.known_models import KnownModels
from eyespot.client.one_version import check_same_version
from eyespot.client.pictures import Images, as_rows
from eyespot.client.question import Asking, Question
from eyespot.client.row_batches import RowBatch, row_batches
from eyespot.client.steps import Deadline, Give, RetryPolicy, Steps, Work, follow, send
from eyespot.client.values import ExplainTarget
from eyespot.v1 import explain_pb2
from eyespot.v1.tensors import Array


class Explaining:
    """Explains the models of one server.

    Args:
        known: What is known of them.
        inferring: Runs them.
        policy: How an unavailable server is asked again.
    """

    def __init__(self, known: KnownModels, inferring: Inferring, policy: RetryPolicy) -> None:
        self._known = known
        self._inferring = inferring
        self._policy = policy

    def all(
        self, model_name: str, images: Images, question: Question, deadline: Deadline
    ) -> Steps[list[Explanation]]:
        """Ask which elements of each row made the model say so."""
        asking = yield from self._asking(model_name, images, question, deadline)
        explanations: list[Explanation] = []
        for batch in row_batches(asking.rows, asking.config):
            array = yield Work(batch.load)
            request = asking.request(array, batch.start, batch.stop)
            with self._known.forgetting_if_replaced(model_name, question.model_version):
                response = yield from send(
                    "Explain", request, deadline=deadline, policy=self._policy
                )
                found = asking.read(response, array, batch.start, batch.stop)
                explanations = _of_one_version(explanations, found)
        return explanations

    def stream(
        self, model_name: str, images: Images, question: Question, deadline: Deadline
    ) -> Steps[None]:
        """Ask the same, and give what is known each time that the server tells more."""
        asking = yield from self._asking(model_name, images, question, deadline)
        explanations: list[Explanation] = []
        for batch in row_batches(asking.rows, asking.config):
            array = yield Work(batch.load)
            request = asking.request(array, batch.start, batch.stop)
            refined = _Refined(explanations, asking, batch, array)
            with self._known.forgetting_if_replaced(model_name, question.model_version):
                yield from follow(
                    "ExplainStream", request, refined.take, deadline=deadline, policy=self._policy
                )
            explanations = refined.explanations

    def _asking(
        self, model_name: str, images: Images, question: Question, deadline: Deadline
    ) -> Steps[Asking]:
        """Learn of the model what the question must be built on."""
        version = question.model_version
        metadata = yield from self._known.metadata(model_name, version, deadline)
        config = yield from self._known.config(model_name, version, deadline)
        rows = as_rows(images, len(requests.only_input(metadata).shape))
        targets = question.targets_of(len(rows))
        if question.like is not None:
            name = answers.output_name(metadata, None, usual="embedding")
            result = yield from self._inferring.rows(
                question.like, metadata, model_version=version, outputs=[name], deadline=deadline
            )
            targets = [ExplainTarget(embedding=question.embedding_of(result.outputs[name]))]
        return Asking(question, rows, targets, metadata, config)


class _Refined:
    """What is known of one batch, after what was found of those before it.

    Args:
        done: That.
        asking: Asks about all rows.
        batch: Which of them.
        array: They themselves.
    """

    def __init__(
        self, done: list[Explanation], asking: Asking, batch: RowBatch, array: Array
    ) -> None:
        self.explanations = done
        self._done = done
        self._asking = asking
        self._batch = batch
        self._array = array
        self._progress = -1.0  # nothing was told yet

    def take(self, message: explain_pb2.ExplainStreamResponse) -> Steps[bool]:
        """Give what a message tells, unless as much was given; its result is whether it was all."""
        start, stop = self._batch.start, self._batch.stop
        if message.progress > self._progress:
            found = self._asking.read(message.explain_response, self._array, start, stop)
            self.explanations = _of_one_version(self._done, found)
            self._progress = message.progress
            rows = start + message.progress * (stop - start)
            yield Give(ExplainProgress(rows / len(self._asking.rows), self.explanations))
        return message.progress >= 1


def _of_one_version(done: Sequence[Explanation], found: Sequence[Explanation]) -> list[Explanation]:
    """Put what was found behind what was found before.

    Raises:
        ModelReplacedError: They are of two versions of the model.
    """
    if done and found:
        check_same_version(done[-1], found[0], done=len(done), what="explanations")
    return [*done, *found]
