"""Explanations while the server goes away and comes back, perhaps with another model."""

import grpc
import pytest
from tests.client.fake import connecting

from eyespot.client import ModelReplacedError, ResourceExhaustedError, UnavailableError
from eyespot.v1 import explain_pb2
from eyespot.v1 import inference_pb2 as pb

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def pictures(picture):
    """Three, of which the model takes two at once."""
    return [picture((1, 5, 2)), picture((7, 0, 1)), picture((9, 0, 0))]


def told(known):
    """The progress, and the strongest pixel of each explanation by then."""
    return [
        (each.progress, [explained.attributions.max() for explained in each.explanations])
        for each in known
    ]


def asked(servicer):
    """How many rows each request for explanations had."""
    return [each.inputs[0].shape[0] for each in servicer.of(explain_pb2.ExplainRequest)]


# Two requests, each answered in halves; rows of 5, 7 and 9.
UNBROKEN = [
    (pytest.approx(1 / 3), [2.5, 3.5]),
    (pytest.approx(2 / 3), [5, 7]),
    (pytest.approx(5 / 6), [5, 7, 4.5]),
    (1, [5, 7, 9]),
]


def test_a_broken_stream_is_taken_up_where_nothing_is_told_twice(client, servicer, pictures, time):
    servicer.breaks = [UNAVAILABLE] * 2
    assert told(client.explain_stream("colors", pictures, method="rise")) == UNBROKEN
    assert asked(servicer) == [2, 2, 2, 1]
    assert len(time.pauses) == 2
    assert time.pauses[0] < time.pauses[1]


def test_what_was_answered_in_full_is_not_asked_for_again(client, servicer, pictures):
    stream = client.explain_stream("colors", pictures)
    known = [next(stream), next(stream)]  # the first two pictures
    servicer.whole.clear()
    known.append(next(stream))  # the half of the last
    servicer.breaks = [UNAVAILABLE]
    servicer.whole.set()
    assert told([*known, *stream]) == UNBROKEN
    assert asked(servicer) == [2, 1, 1]


def test_a_stream_that_breaks_after_its_last_message_has_lost_nothing(
    client, servicer, pictures, time
):
    servicer.late_breaks = [UNAVAILABLE, grpc.StatusCode.INTERNAL]
    assert told(client.explain_stream("colors", pictures)) == UNBROKEN
    assert asked(servicer) == [2, 1]
    assert time.pauses == []


def test_the_tries_of_a_stream_are_counted_together(kind, address, servicer, pictures, time):
    servicer.breaks = [UNAVAILABLE] * 9
    with connecting(kind, address, time=time, retries=2) as client:
        known = []
        with pytest.raises(UnavailableError, match="on purpose"):
            known.extend(client.explain_stream("colors", pictures))
    assert asked(servicer) == [2, 2, 2]
    assert len(time.pauses) == 2


def test_all_tries_of_a_stream_stay_within_the_timeout(client, servicer, pictures, time):
    servicer.breaks = [UNAVAILABLE] * 9
    begin = time.now
    with pytest.raises(UnavailableError):
        list(client.explain_stream("colors", pictures, timeout=1.0))
    assert 0 < time.now - begin < 1.0
    assert len(servicer.breaks) > 0


def test_a_stream_is_taken_up_as_the_server_says(client, servicer, pictures, time):
    servicer.breaks = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    servicer.pushback = "40"
    assert told(client.explain_stream("colors", pictures)) == UNBROKEN
    [pause] = time.pauses
    assert 0.04 <= pause <= 0.06
    servicer.breaks = [grpc.StatusCode.RESOURCE_EXHAUSTED]
    servicer.pushback = ""
    with pytest.raises(ResourceExhaustedError):
        list(client.explain_stream("colors", pictures))
    assert len(time.pauses) == 1


@pytest.mark.parametrize("way", ["explain", "explain_stream"])
def test_two_versions_are_not_mixed(client, servicer, pictures, way):
    servicer.versions = ["2", "3"]
    with pytest.raises(
        ModelReplacedError,
        match="2 explanations are of version 2, the next would be of version 3",
    ):
        list(getattr(client, way)("colors", pictures))
    # What was known of the version that is gone is asked for anew.
    servicer.versions = ["3", "3"]
    before = len(servicer.of(pb.ModelConfigRequest))
    last = list(getattr(client, way)("colors", pictures))[-1]
    found = [last] if way == "explain" else last.explanations
    assert {each.model_version for each in found} == {"3"}
    assert len(servicer.of(pb.ModelConfigRequest)) == before + 1


def test_another_version_may_answer_where_nothing_is_final_yet(client, servicer, pictures):
    servicer.versions = ["2", "3", "3"]
    servicer.breaks = [UNAVAILABLE]
    known = list(client.explain_stream("colors", pictures))
    assert told(known) == UNBROKEN
    versions = [{each.model_version for each in one.explanations} for one in known]
    assert versions == [{"2"}, {"3"}, {"3"}, {"3"}]
