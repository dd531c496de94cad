"""What calls have loaded, as the server knows it that takes the place of another."""

import pytest
from tests.full_disk import files_of_at_most

from eyespot.server.config import ServerConfig
from eyespot.server.dataplane import Dataplane
from eyespot.server.errors import StartError
from eyespot.server.first_loads import begin_first_loads
from eyespot.server.load_calls import LoadCall, LoadCalls
from eyespot.server.loader import Loader
from eyespot.server.loading_threads import LoadingThreads
from eyespot.server.notes import Notes
from eyespot.server.repository import BrokenModel

LOADED, UNLOADED = LoadCall(is_loaded=True), LoadCall(is_loaded=False)


def test_the_next_server_knows_the_last_call_about_each_model(notes):
    assert list(LoadCalls(Notes(notes)).loaded()) == []
    calls = LoadCalls(Notes(notes))
    configured = LoadCall(is_loaded=True, config='{"max_batch_size": 5}', brought_files=True)
    for name, call in {"a": LOADED, "b": LOADED, "ä": configured}.items():
        calls.note(name, call)
    calls.note("b", UNLOADED)
    calls.note("ä", configured)
    following = LoadCalls(Notes(notes))
    assert list(following.loaded()) == [("a", LOADED), ("ä", configured)]
    assert ("b" in following, "c" in following) == (True, False)
    following.note("a", UNLOADED)
    assert list(LoadCalls(Notes(notes)).loaded()) == [("ä", configured)]


def test_a_full_disk_fails_no_call_and_is_told(notes, caplog):
    calls = LoadCalls(Notes(notes))
    calls.note("net", LOADED)
    with files_of_at_most(80):
        calls.note("n" * 100, LOADED)
    assert "know of the last call about 'nnnn" in caplog.text
    assert list(LoadCalls(Notes(notes)).loaded()) == [("net", LOADED)]


def explicit(repository, load_model=""):
    return ServerConfig(
        repository=repository.path, model_control_mode="explicit", load_model=load_model
    )


def found_after(repository, calls, load_model=""):
    threads = LoadingThreads()
    try:
        return begin_first_loads(explicit(repository, load_model), threads, calls=calls).found
    finally:
        threads.close()


def test_what_calls_have_loaded_and_unloaded_changes_what_is_named(repository):
    for name in "abc":
        repository.add(name)
    calls = LoadCalls()
    calls.note("c", LoadCall(True, '{"max_batch_size": 5}'))
    calls.note("b", UNLOADED)
    calls.note("gone", UNLOADED)
    for named, expected in {"": "c", "a,b,gone": "ac", "*": "ac"}.items():
        found = found_after(repository, calls, named)
        assert "".join(each.model_name for each in found) == expected
        assert found[-1].config_file.message.max_batch_size == 5
    with pytest.raises(StartError, match="load_model names nix"):
        found_after(repository, calls, "nix")


def test_what_cannot_be_loaded_again_is_told_and_keeps_nothing_from_starting(repository, caplog):
    repository.add("brought")
    calls = LoadCalls()
    calls.note("brought", LoadCall(True, '{"max_batch_size": 5}', brought_files=True))
    calls.note("gone", LOADED)
    brought, gone = found_after(repository, calls)
    assert brought.config_file.message.max_batch_size == 0
    assert "model 'brought' is loaded as the repository has it: the files" in caplog.text
    assert isinstance(gone, BrokenModel)
    assert "a call had loaded it" in gone.reason


@pytest.mark.parametrize(("called", "hint"), [([], "calls may load them"), (["gone"], "above")])
def test_where_no_model_is_ready_the_hint_knows_of_the_calls(repository, called, hint):
    calls, settings = LoadCalls(), explicit(repository)
    for name in called:
        calls.note(name, LOADED)
    first = begin_first_loads(settings, LoadingThreads(), calls=calls)
    loader = Loader(Dataplane(), settings, on_change=None, first=first)
    loader.begin()
    assert loader.hint().endswith(hint)
    loader.close()
