"""Asking what made a model say so: batch by batch, or with what is known meanwhile."""

from __future__ import annotations

from eyespot.client import answers, requests
from eyespot.client.explanation import ExplainProgress, Explanation
from eyespot.client.inferring import Inferring
from eyespot.client.known_models import KnownModels
from eyespot.client.pictures import Images, as_rows
from eyespot.client.question import Asking, Question
from eyespot.client.row_batches import row_batches
from eyespot.client.steps import Deadline, Give, Receive, RetryPolicy, Steps, Work, open_stream
from eyespot.client.values import ExplainTarget


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
            response = yield from self._known.send_built("Explain", request, deadline)
            explanations += asking.read(response, array, batch.start, batch.stop)
        return explanations

    def stream(
        self, model_name: str, images: Images, question: Question, deadline: Deadline
    ) -> Steps[None]:
        """Ask the same, and give what is known each time that the server tells more."""
        asking = yield from self._asking(model_name, images, question, deadline)
        done: list[Explanation] = []
        for batch in row_batches(asking.rows, asking.config):
            array = yield Work(batch.load)
            request = asking.request(array, batch.start, batch.stop)
            with self._known.forgetting_if_refused(request):
                stream, message = yield from open_stream(
                    "ExplainStream", request, deadline=deadline, policy=self._policy
                )
            try:
                known = []
                while message is not None:
                    known = asking.read(message.explain_response, array, batch.start, batch.stop)
                    rows = batch.start + message.progress * (batch.stop - batch.start)
                    yield Give(ExplainProgress(rows / len(asking.rows), [*done, *known]))
                    message = yield Receive(stream)
                done += known
            finally:
                stream.cancel()  # the caller may have gone: the server need not go on

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
