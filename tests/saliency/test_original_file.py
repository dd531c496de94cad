"""Hostile files are refused, and nothing in them runs: each would have left a mark."""

import json
import logging
import os
import pickle
import shutil
import warnings

import pytest
import torch
from torch import nn
from torch.export.pt2_archive import PT2ArchiveReader, PT2ArchiveWriter

from eyespot.saliency import OriginalError, UnsafeOriginalError
from eyespot.saliency.torch_backend import TorchBackend


class Mark:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "mark"


@pytest.fixture
def original(save_original):
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    return save_original(module, torch.zeros(2, 1, 4, 4))


def rewrite(path, changes):
    """Copy an archive member by member; `changes` gives other bytes, or None to leave out."""
    reader = PT2ArchiveReader(str(path))
    members = {name: reader.read_bytes(name) for name in reader.get_file_names()}
    members = {name: raw for name, raw in members.items() if not name.startswith(".data/")}
    changed = path.with_name("changed.pt2")
    with PT2ArchiveWriter(str(changed)) as writer:
        for name, raw in (members | changes(members)).items():
            if name != "byteorder" and raw is not None:
                writer.write_bytes(name, raw)
    shutil.move(changed, path)


def edit_graph(edit):
    def changes(members):
        graph = json.loads(members["models/model.json"])
        edit(graph)
        return {"models/model.json": json.dumps(graph).encode()}

    return changes


def refuse(path, said, kind=UnsafeOriginalError):
    with pytest.raises(kind, match=said) as error:
        TorchBackend.load(path, gradient_node="input")
    assert path.name in str(error.value)


def test_an_honest_file_is_read_after_a_rewrite(original):
    rewrite(original, lambda members: {})
    assert TorchBackend.load(original, gradient_node="input").output_shape == (3,)


def test_pickled_sample_inputs_are_not_loaded(original, mark):
    pickled = original.with_name("samples.pt")
    torch.save((Mark(mark),), pickled)
    rewrite(original, lambda _: {"data/sample_inputs/model.pt": pickled.read_bytes()})
    refuse(original, "pickled sample inputs")
    assert not mark.exists()


def test_what_the_mark_is_worth(original, mark):
    """PyTorch's own reader does run it: that is why it is kept from the file."""
    pickled = original.with_name("samples.pt")
    torch.save((Mark(mark),), pickled)
    rewrite(original, lambda _: {"data/sample_inputs/model.pt": pickled.read_bytes()})
    logging.disable()  # it stumbles over its own warning
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.load(original)
    finally:
        logging.disable(logging.NOTSET)
    assert mark.exists()


def test_a_pickled_weight_is_not_loaded(original, mark):
    def changes(members):
        name = "data/weights/model_weights_config.json"
        config = json.loads(members[name])
        entry = next(iter(config["config"].values()))
        entry["use_pickle"] = True
        return {
            name: json.dumps(config).encode(),
            f"data/weights/{entry['path_name']}": pickle.dumps(Mark(mark)),
        }

    rewrite(original, changes)
    refuse(original, "as a pickle")
    assert not mark.exists()


def test_an_opaque_constant_is_not_loaded(original, mark):
    def changes(members):
        name = "data/constants/model_constants_config.json"
        config = {
            "config": {
                "c": {
                    "path_name": "opaque_obj_0",
                    "is_param": False,
                    "use_pickle": False,
                    "tensor_meta": None,
                }
            }
        }
        return {name: json.dumps(config).encode()}

    rewrite(original, changes)
    refuse(original, "'c' as a pickle")


@pytest.mark.parametrize(
    "member",
    [
        "data/constants/opaque_obj_0",
        "data/constants/custom_obj_0",
        "data/constants/model.pt",
        "data/weights/model.pt",
        "data/aotinductor/model/code.so",
        "models/other.json",
        "extra/notes.pkl",
    ],
)
def test_members_beside_weights_and_graph_are_refused(original, mark, member):
    rewrite(original, lambda _: {member: pickle.dumps(Mark(mark))})
    refuse(original, member)
    assert not mark.exists()


def test_a_size_is_not_evaluated(original, mark):
    code = f"__import__('os').mkdir({str(mark)!r})"

    def edit(graph):
        for values in graph["graph_module"]["graph"]["tensor_values"].values():
            for size in values["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code

    rewrite(original, edit_graph(edit))
    refuse(original, "where a size is expected")
    assert not mark.exists()


@pytest.mark.parametrize(
    "size", ["9**9**9", "s0.__class__", "exec('1')", "Symbol('a b')", "lambda: 1", "[1]"]
)
def test_a_size_is_symbols_and_arithmetic(original, size):
    def edit(graph):
        for values in graph["graph_module"]["graph"]["tensor_values"].values():
            values["sizes"][0] = {"as_expr": {"expr_str": size, "hint": None}}

    rewrite(original, edit_graph(edit))
    refuse(original, "where a size is expected")


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.ops.aten.from_file.default",
        "_operator.call",
        "_operator.attrgetter",
        "#registered:thing",
        None,
    ],
)
def test_only_operators_are_called(original, target):
    def edit(graph):
        graph["graph_module"]["graph"]["nodes"][0]["target"] = target

    rewrite(original, edit_graph(edit))
    refuse(original, "no ATen operator")


def test_a_name_is_no_code(original, mark):
    code = f"x = 1\n__import__('os').mkdir({str(mark)!r})\ndef y()"

    def edit(graph):
        graph["graph_module"]["graph"]["nodes"][0]["name"] = code

    rewrite(original, edit_graph(edit))
    refuse(original, "no identifier")
    assert not mark.exists()


def test_guards_are_refused(original):
    rewrite(original, edit_graph(lambda graph: graph.update(guards_code=["print(1)"])))
    refuse(original, "guards")


def test_only_plain_containers_go_in_and_out(original):
    def edit(graph):
        signature = graph["graph_module"]["module_call_graph"][0]["signature"]
        signature["in_spec"] = signature["in_spec"].replace(
            "builtins.tuple", "collections.defaultdict"
        )

    rewrite(original, edit_graph(edit))
    refuse(original, "no plain container")


def test_an_object_as_an_argument_is_refused(original):
    def edit(graph):
        argument = {"name": "self", "arg": {"as_operator": "torch.load"}, "kind": 1}
        graph["graph_module"]["graph"]["nodes"][0]["inputs"].append(argument)

    rewrite(original, edit_graph(edit))
    refuse(original, "as_operator")


def test_damage_is_typed(original):
    original.write_bytes(original.read_bytes()[:500])
    refuse(original, "no readable captured program", OriginalError)


def test_no_file_is_typed(tmp_path):
    refuse(tmp_path / "original.pt2", "no readable captured program", OriginalError)


def test_a_missing_graph_is_typed(original):
    rewrite(original, lambda _: {"models/model.json": None})
    refuse(original, "models/model.json is missing", OriginalError)


def test_broken_json_is_typed(original):
    for broken in (b"{", b'{"a":' * 100_000):
        rewrite(original, lambda _, broken=broken: {"models/model.json": broken})
        refuse(original, "is not JSON", OriginalError)
