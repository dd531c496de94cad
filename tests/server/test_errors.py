"""The error tree: each leaf's status, and the drawing of it."""

import re

import grpc
import pytest

from eyespot.server import errors

STATUSES = {
    errors.InvalidArgumentError: "INVALID_ARGUMENT",
    errors.NotFoundError: "NOT_FOUND",
    errors.ModelNotFoundError: "NOT_FOUND",
    errors.AlreadyExistsError: "ALREADY_EXISTS",
    errors.UnavailableError: "UNAVAILABLE",
    errors.ModelUnavailableError: "UNAVAILABLE",
    errors.ModelBrokenError: "UNAVAILABLE",
    errors.DrainingError: "UNAVAILABLE",
    errors.FaultError: "UNAVAILABLE",
    errors.WorkerDiedError: "UNAVAILABLE",
    errors.CircuitOpenError: "UNAVAILABLE",
    errors.ResourceExhaustedError: "RESOURCE_EXHAUSTED",
    errors.QueueFullError: "RESOURCE_EXHAUSTED",
    errors.WaitingBytesError: "RESOURCE_EXHAUSTED",
    errors.WaitTooLongError: "RESOURCE_EXHAUSTED",
    errors.TooManyRequestsError: "RESOURCE_EXHAUSTED",
    errors.UnauthenticatedError: "UNAUTHENTICATED",
    errors.PermissionDeniedError: "PERMISSION_DENIED",
    errors.DeadlineExceededError: "DEADLINE_EXCEEDED",
    errors.FailedPreconditionError: "FAILED_PRECONDITION",
    errors.NotExplainableError: "FAILED_PRECONDITION",
    errors.LoadError: "FAILED_PRECONDITION",
    errors.UnimplementedError: "UNIMPLEMENTED",
    errors.ExplainUnavailableError: "UNIMPLEMENTED",
    errors.InternalError: "INTERNAL",
}


def _classes():
    return {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }


def test_every_request_error_has_its_status():
    leaves = {c for c in _classes() if issubclass(c, errors.RequestError)}
    assert leaves - {errors.RequestError} == set(STATUSES)
    for error, name in STATUSES.items():
        assert error.status_name == name
    assert errors.NotFoundError("it").status is grpc.StatusCode.NOT_FOUND
    assert {"UNKNOWN", *STATUSES.values()} <= {status.name for status in grpc.StatusCode}


def test_drawing_shows_the_tree():
    parents = []
    drawn = {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"([│├└─ ]*)(\w+Error)\b", line):
            depth = len(match[1]) // 4
            parents[depth:] = [match[2]]
            drawn[match[2]] = parents[depth - 1] if depth else "Exception"
    assert drawn == {c.__name__: c.__base__.__name__ for c in _classes()}


@pytest.mark.parametrize("error", [errors.RepositoryError, errors.StartError])
def test_errors_of_no_call_have_no_status(error):
    assert not hasattr(error, "status")
