"""`eyespot methods`: what is printed of methods that have things in common."""

from eyespot.cli.methods import print_methods
from eyespot.client.values import MethodDescription, ParameterDescription


def described(name, *, reason="", **default):
    parameters = tuple(
        ParameterDescription(key, "double", "how much", value, None, None, ())
        for key, value in default.items()
    )
    return MethodDescription(name, "", not reason, reason, "torch", parameters, 1.0, "")


def test_what_is_the_same_of_several_methods_is_told_once(capsys):
    print_methods(
        [
            described("a", gamma=0.5),
            described("b", gamma=0.5),
            described("c", gamma=0.25),
            described("d", reason="no PyTorch"),
            described("e", reason="no PyTorch"),
            described("f", reason="no convolution"),
        ]
    )
    assert capsys.readouterr().out.splitlines()[4:] == [
        "",
        "to be set by --parameter NAME=VALUE",
        "  gamma=0.5  of a and b",
        "      how much (double)",
        "  gamma=0.25  of c",
        "      how much (double)",
        "",
        "d and e do not work here: no PyTorch",
        "f does not work here: no convolution",
    ]


def test_a_reason_against_all_of_them_names_none(capsys):
    print_methods(
        [described("a", reason="explain is off"), described("b", reason="explain is off")]
    )
    assert capsys.readouterr().out == "no method works here: explain is off\n"


def test_the_model_may_be_named_without_an_option(run, address, servicer):
    assert run("methods", "planes", "--server", address).code == 0
    assert servicer.requests[-1].model_name == "planes"
    assert run("methods", "--model", "colors", "--server", address).code == 0
    assert servicer.requests[-1].model_name == "colors"
    assert run("methods", "--server", address).code == 0  # the only one
