import math

import grpc
import numpy as np
import pytest
from tests.client.fake import connecting

from eyespot.client import (
    ClientError,
    DeadlineExceededError,
    Histogram,
    InvalidArgumentError,
    NotFoundError,
    ResourceExhaustedError,
    ServerError,
    UnavailableError,
)
from eyespot.client.channel import server_address
from eyespot.client.steps import RetryPolicy
from eyespot.v1 import inference_pb2 as pb

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_health_and_metadata(client):
    assert client.server_live() is True
    assert client.server_ready() is False
    assert client.model_ready("colors") is True
    assert client.model_ready("colors", model_version="1") is False
    metadata = client.server_metadata()
    assert (metadata.name, metadata.version, metadata.extensions) == ("fake", "7", ("statistics",))


def test_a_model_is_described(client):
    metadata = client.model_metadata("colors")
    assert (metadata.name, metadata.versions) == ("colors", ("1", "2"))
    [image] = metadata.inputs
    assert (image.name, image.datatype, image.shape) == ("image", "UINT8", (-1, 2, 2, 3))
    config = client.model_config("colors")
    assert config.max_batch_size == 2
    assert config.preprocessing.resize_size == (2, 2)
    assert config.labels == ("red", "green", "blue")
    assert config.message.max_batch_size == 2


def test_statistics_and_index(client, servicer):
    servicer.explained = (4, 3)
    [counted] = client.statistics()
    assert counted.mean_batch_size == pytest.approx(2.4)  # 12 rows in 5 batches
    assert counted.queue.mean_ms == pytest.approx(2.0)  # 16 ms in 8 requests
    assert counted.compute_infer.mean_ms == 0.0
    assert (counted.success.count, counted.fail.count) == (8, 1)
    assert counted.batch_counts == {3: 4}
    assert (counted.explain_success.count, counted.explain_fail.count) == (4, 3)
    assert counted.explain_success.mean_ms == pytest.approx(7.5)  # 30 ms in 4 calls
    ready, torn = client.repository_index()
    assert (ready.is_ready, torn.is_ready, torn.reason) == (True, False, "torn file")
    assert client.repository_index(ready_only=True) == [ready]


def test_methods_are_listed(client):
    smooth, cam = client.list_methods("colors")
    assert (smooth.is_available, smooth.backend, smooth.paper) == (True, "torch", "S et al. 2017")
    assert (smooth.forward_passes, smooth.scales_with) == (150, "n_steps")
    [parameter] = smooth.parameters
    assert (parameter.name, parameter.type, parameter.default) == ("n_steps", "int64", 50)
    assert (parameter.minimum, parameter.maximum, parameter.choices) == (1, None, ())
    assert (cam.is_available, cam.reason) == (False, "no convolution")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgumentError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhaustedError),
        (grpc.StatusCode.DATA_LOSS, ServerError),
    ],
)
def test_a_status_becomes_a_typed_error_and_is_not_retried(client, servicer, time, status, error):
    servicer.failures = [status]
    with pytest.raises(error, match=f"{status.name}: on purpose") as raised:
        client.server_live()
    assert type(raised.value) is error
    assert (raised.value.code, raised.value.details) == (status, "on purpose")
    assert time.pauses == []
    assert client.server_live()


def test_an_unavailable_server_is_asked_again_after_growing_pauses(client, servicer, time):
    servicer.failures = [UNAVAILABLE] * 2
    assert client.server_live()
    assert len(servicer.requests) == 3
    first, second = time.pauses
    assert 0.1 <= first <= 0.2 <= second <= 0.4


def test_infer_is_retried_without_asking_for_the_metadata_anew(client, servicer):
    zeros = np.zeros((1, 2, 2, 3), np.uint8)
    client.infer("colors", zeros)
    servicer.failures = [UNAVAILABLE]
    client.infer("colors", zeros)
    assert len(servicer.of(pb.ModelInferRequest)) == 3
    assert len(servicer.of(pb.ModelMetadataRequest)) == 1


def test_retries_end(kind, address, servicer, time):
    servicer.failures = [UNAVAILABLE] * 9
    with (
        connecting(kind, address, time=time, retries=2) as client,
        pytest.raises(UnavailableError, match="on purpose"),
    ):
        client.server_live()
    assert len(servicer.requests) == 3
    assert len(time.pauses) == 2


@pytest.mark.parametrize("pushback", ["-1", "soon"])
def test_a_server_that_says_so_is_not_asked_again(client, servicer, time, pushback):
    servicer.failures = [UNAVAILABLE] * 2
    servicer.pushback = pushback
    with pytest.raises(UnavailableError, match="on purpose") as raised:
        client.server_live()
    assert not raised.value.may_pass
    assert raised.value.retry_seconds is None
    assert len(servicer.requests) == 1
    assert time.pauses == []


def test_a_busy_server_that_says_when_is_asked_then(client, servicer, time):
    servicer.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED, UNAVAILABLE]
    servicer.pushback = "40"
    assert client.server_live()
    assert len(servicer.requests) == 3
    assert all(0.04 <= pause <= 0.06 for pause in time.pauses)
    assert len(time.pauses) == 2


def test_a_busy_server_is_not_asked_again_for_good_nor_beyond_the_timeout(client, servicer, time):
    for wait_ms in (-1, 2000):
        servicer.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED]
        servicer.pushback = str(wait_ms)
        with pytest.raises(ResourceExhaustedError, match="on purpose") as raised:
            client.server_live(timeout=1.0)
        assert raised.value.may_pass == (wait_ms > 0)
    assert raised.value.retry_seconds == 2.0
    assert time.pauses == []


def test_an_error_tells_when_the_server_would_be_asked_again(client, servicer):
    servicer.failures = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    servicer.pushback = "1500"
    with pytest.raises(ResourceExhaustedError) as raised:
        client.server_live(timeout=1.0)
    assert raised.value.may_pass
    assert raised.value.retry_seconds == 1.5
    assert str(raised.value) == "RESOURCE_EXHAUSTED: on purpose (try again in 1.5 s)"


def test_retries_stay_within_the_timeout(client, servicer, time):
    servicer.failures = [UNAVAILABLE] * 9
    with pytest.raises(UnavailableError):
        client.server_live(timeout=1.0)
    assert sum(time.pauses) < 1.0
    assert len(servicer.requests) < 7


def test_a_server_that_is_not_there(kind, time):
    with (
        connecting(kind, "127.0.0.1:1", time=time, retries=1) as client,
        pytest.raises(UnavailableError) as raised,
    ):
        client.server_live()
    assert raised.value.code is UNAVAILABLE
    assert len(time.pauses) == 1


def test_pauses_double_up_to_the_longest_and_are_shortened_by_half_at_most():
    longest = RetryPolicy(random=lambda: 1.0)
    assert [longest.pause(attempt) for attempt in range(7)] == pytest.approx(
        [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    )
    assert RetryPolicy(random=lambda: 0.0).pause(1) == pytest.approx(0.2)
    assert longest.pause(3, wanted=2.0) == 3.0


def test_the_pauses_outlast_the_restart_of_a_server():
    shortest = RetryPolicy(random=lambda: 0.0)
    assert sum(map(shortest.pause, range(shortest.retries))) > 15.0


def test_the_timeout_is_the_deadline(client, servicer):
    servicer.hold.clear()
    with pytest.raises(DeadlineExceededError):
        client.server_live(timeout=0.05)
    servicer.hold.set()
    assert client.server_live()


def test_the_clients_own_timeout_holds_where_none_is_given(kind, address, servicer):
    servicer.hold.clear()
    with connecting(kind, address, timeout=0.05) as client, pytest.raises(DeadlineExceededError):
        client.server_live()


def test_no_timeout_at_all(client):
    assert client.server_live(timeout=math.inf)


@pytest.mark.parametrize("timeout", [0, -1, math.nan])
def test_a_timeout_is_positive(client, timeout):
    with pytest.raises(ClientError, match="timeout must be a positive number"):
        client.server_live(timeout=timeout)


def test_retries_are_not_negative(kind, address):
    with (
        pytest.raises(ClientError, match="retries must be at least 0, found -1"),
        connecting(kind, address, retries=-1),
    ):
        pass


def test_a_refused_request_makes_the_client_ask_for_the_metadata_anew(client, servicer):
    zeros = np.zeros((1, 2, 2, 3), np.uint8)
    client.infer("colors", zeros)
    servicer.failures = [grpc.StatusCode.INVALID_ARGUMENT]
    with pytest.raises(InvalidArgumentError):
        client.infer("colors", zeros)
    client.infer("colors", zeros)
    assert len(servicer.of(pb.ModelMetadataRequest)) == 2


def test_an_unknown_model(client):
    with pytest.raises(NotFoundError, match="no model nix"):
        client.infer("nix", np.zeros(1))


def test_messages_beyond_the_4_mib_that_grpc_allows_of_itself(client):
    # 3.2 MB there, 6.4 MB back.
    inputs = {"a": np.zeros((1, 2), np.float32), "b": np.zeros((400_000, 1), np.int64)}
    assert client.infer("pair", inputs).outputs["sum"].shape == (400_000, 2)
    # The fake server keeps to 4 MiB and says so.
    with pytest.raises(
        ResourceExhaustedError, match=r"larger than max.*or start the server with --max-request-mib"
    ):
        client.infer("colors", np.zeros((2**19, 2, 2, 3), np.uint8))


def test_the_client_says_whom_it_talks_to(client, address):
    assert repr(client).endswith(f"Client('{address}')")


def test_a_model_that_is_being_loaded_is_awaited(client, servicer, time):
    servicer.looks_until_ready = 3
    [model] = client.wait_while_loading("colors")
    assert (model.name, model.is_ready) == ("colors", True)
    assert time.pauses == [0.25] * 3
    [torn] = client.wait_while_loading("torn")
    assert torn.reason == "torn file"
    assert client.wait_while_loading("nix") == []
    assert client.wait_while_loading("colors", model_version="9") == []
    assert len(time.pauses) == 3


def test_what_explains_a_model_is_awaited_where_that_is_meant(client, servicer, time):
    servicer.looks_until_explained = 3
    [model] = client.wait_while_loading("colors")
    assert (model.is_ready, model.explainer_is_loading, time.pauses) == (True, True, [])
    [model] = client.wait_while_loading("colors", for_explaining=True)
    assert (model.explainer_is_loading, time.pauses) == (False, [0.25] * 2)


def test_the_waiting_for_a_model_ends_with_the_timeout(client, servicer, time):
    servicer.looks_until_ready = 99
    [model] = client.wait_while_loading("colors", timeout=1.1)
    assert model.is_loading
    assert time.pauses == [0.25] * 4


def test_a_closed_client_says_so(kind, address):
    with connecting(kind, address) as client:
        client.server_live()
        client.close()
        with pytest.raises(ClientError, match="is closed: make a new one"):
            client.server_live()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("localhost", "localhost:8001"),
        ("localhost:9", "localhost:9"),
        ("10.0.0.1", "10.0.0.1:8001"),
        ("::1", "[::1]:8001"),
        ("[::1]", "[::1]:8001"),
        ("[::1]:9", "[::1]:9"),
        ("unix:/run/eyespot", "unix:/run/eyespot"),
    ],
)
def test_the_port_of_an_address_may_be_left_out(given, meant):
    assert server_address(given) == meant


@pytest.mark.parametrize("address", ["http://localhost:8001", "localhost:x", "", ":8001", "h:0"])
def test_what_is_no_address_is_told_before_anything_is_sent(kind, address):
    with (
        pytest.raises(ClientError, match="expected HOST or HOST:PORT, such as"),
        connecting(kind, address),
    ):
        pass


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((4, 0, 0, 0), 0.5, 0.5),  # evenly from 0 to the first bound
        ((1, 2, 1, 0), 0.5, 1.5),
        ((1, 0, 3, 0), 0.95, 2 + 2 * (3.8 - 1) / 3),
        ((0, 0, 0, 9), 0.5, 4),  # beyond the last bound: no more is known
        ((0, 0, 0, 0), 0.5, None),
    ],
)
def test_quantiles_lie_between_their_bounds(counts, share, value):
    found = Histogram((1, 2, 4), counts).quantile(share)
    assert found == (None if value is None else pytest.approx(value))
