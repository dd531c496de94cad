import math

import pytest

from eyespot.saliency import METHODS, Method, ParameterError, ParameterSpec, UnknownMethodError
from eyespot.saliency.methods import find_method


def test_each_method_is_found_by_its_name():
    for name, method in METHODS.items():
        assert find_method(name) is method
        assert method.name == name
        assert method.paper


def test_an_unknown_method_is_told_the_nearest():
    with pytest.raises(UnknownMethodError, match="'salience'; did you mean 'saliency'"):
        find_method("salience")
    with pytest.raises(UnknownMethodError, match="'x'; expected one of saliency"):
        find_method("x")


METHOD = Method(
    name="smooth",
    paper="",
    parameters=(
        ParameterSpec("n_samples", "int64", 25, "draws", minimum=1, maximum=100),
        ParameterSpec("noise", "double", 0.15, "spread", minimum=0),
        ParameterSpec("absolute", "bool", False, "drop the sign"),
        ParameterSpec("mode", "string", "mean", "how to combine"),
    ),
    function=lambda *_: None,
    cost=lambda *_: 1,
)


def test_what_is_left_out_has_its_default():
    assert METHOD.complete({"n_samples": 3}) == {
        "n_samples": 3,
        "noise": 0.15,
        "absolute": False,
        "mode": "mean",
    }


def test_an_integer_may_stand_for_a_double():
    noise = METHOD.complete({"noise": 1})["noise"]
    assert (noise, type(noise)) == (1.0, float)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n_sample": 3}, "no parameter 'n_sample'; did you mean 'n_samples'"),
        ({"n_samples": 2.5}, r"'n_samples' expects int64, found 2.5 \(float\)"),
        ({"n_samples": True}, "expects int64, found True"),
        ({"n_samples": 0}, "is 0, expected 1 to 100"),
        ({"n_samples": 101}, "is 101, expected 1 to 100"),
        ({"n_samples": 2**63}, "expects int64"),
        ({"noise": -1}, "is -1.0, expected at least 0"),
        ({"noise": math.nan}, "expects double, found nan"),
        ({"noise": "0.1"}, "expects double, found '0.1'"),
        ({"absolute": 1}, "expects bool, found 1"),
        ({"mode": 1}, "expects string, found 1"),
    ],
)
def test_impossible_parameters_are_typed(given, said):
    with pytest.raises(ParameterError, match=said):
        METHOD.complete(given)


def test_the_ends_of_a_range_belong_to_it():
    for count in (1, 100):
        assert METHOD.complete({"n_samples": count})["n_samples"] == count
