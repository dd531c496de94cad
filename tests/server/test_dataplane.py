"""Which model a call means, and what is said when there is none."""

from types import SimpleNamespace

import pytest

from eyespot.server.dataplane import Dataplane, IndexEntry, ModelState
from eyespot.server.errors import (
    DrainingError,
    ModelBrokenError,
    ModelNotFoundError,
    ModelUnavailableError,
)


def _model(name, version):
    async def drain():
        drained.append((name, version))

    drained: list[tuple[str, str]] = []
    return SimpleNamespace(
        name=name,
        version=version,
        derivation=None,
        drain=drain,
        drained=drained,
        is_complete=True,
    )


def test_latest_is_the_highest_number_in_whatever_order_they_load():
    dataplane = Dataplane()
    for version in ("9", "10", "2"):
        dataplane.add(_model("net", version))
    assert dataplane.model("net").version == "10"
    assert dataplane.model("net", "2").version == "2"
    assert [model.version for model in dataplane.models("net")] == ["2", "9", "10"]


def test_ready_only_when_nothing_is_loading():
    dataplane = Dataplane()
    assert not dataplane.is_ready
    dataplane.expect("net", "1")
    dataplane.expect_no_more()
    assert not dataplane.is_ready
    with pytest.raises(ModelUnavailableError, match="it is being loaded"):
        dataplane.model("net")
    dataplane.add(_model("net", "1"))
    assert dataplane.is_ready
    assert dataplane.is_model_ready("net")
    assert dataplane.index() == [IndexEntry("net", "1", ModelState.READY)]


def test_not_ready_before_it_is_known_what_explains_a_model():
    dataplane = Dataplane()
    model = _model("net", "1")
    model.is_complete = False
    dataplane.add(model)
    dataplane.expect_no_more()
    assert dataplane.is_model_ready("net")
    assert not dataplane.is_ready
    model.is_complete = True
    assert dataplane.is_ready


def test_unavailable_models_tell_their_reason():
    dataplane = Dataplane()
    dataplane.mark_unavailable("net", "", "there is no version folder")
    dataplane.expect_no_more()
    assert dataplane.is_ready
    for version in ("", "1"):
        with pytest.raises(ModelBrokenError, match="there is no version folder"):
            dataplane.model("net", version)
        assert not dataplane.is_model_ready("net", version)


def test_nothing_is_unknown_before_everything_is_named():
    dataplane = Dataplane()
    with pytest.raises(ModelUnavailableError, match="starting"):
        dataplane.model("net")
    dataplane.expect_no_more()
    with pytest.raises(ModelNotFoundError, match="'net' is not found; the models are: none"):
        dataplane.model("net")


def test_more_is_told_of_a_name_where_more_is_known():
    dataplane = Dataplane(advice={"asleep": "wake it", "net": ""}.__getitem__)
    dataplane.expect_no_more()
    for name, told in {"asleep": "wake it", "net": "the models are: none"}.items():
        with pytest.raises(ModelNotFoundError, match=f"'{name}' is not found; {told}$"):
            dataplane.model(name)


async def test_draining_ends_readiness_and_counts_late_calls():
    dataplane = Dataplane()
    model = _model("net", "1")
    dataplane.add(model)
    dataplane.expect_no_more()
    await dataplane.drain()
    assert model.drained == [("net", "1")]
    assert not dataplane.is_ready
    assert not dataplane.is_model_ready("net")
    assert dataplane.model("net") is model  # its batcher is who refuses
    with pytest.raises(DrainingError):
        dataplane.model("other")
    assert dataplane.late_calls == 2
