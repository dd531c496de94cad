"""The door to timm, each time in a process that has not opened it yet."""

import subprocess
import sys
import textwrap


def run(program):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_timm_can_be_had_and_built_from_without_a_network():
    """And whatever torchvision was compiled for."""
    out = run("""
        import socket
        def refuse(*_):
            raise AssertionError("the network was asked")
        socket.socket.connect = refuse
        socket.getaddrinfo = refuse
        import torch
        from eyespot.zoo import create_model, load_timm
        timm = load_timm()
        assert load_timm() is timm
        with torch.device("meta"):
            print(type(create_model("xception", num_classes=2)).__module__)
    """)
    assert out == "timm.models.xception\n"


def test_timm_that_is_absent_is_one_sentence_with_the_command():
    out = run("""
        import sys
        sys.modules["timm"] = None
        from eyespot.zoo import MissingTimmError, create_model, list_models, model_entry
        print([model_entry(name).parameter_count for name in list_models()].count(0))
        create_model("shufflenet_v2_x0_5")
        try:
            create_model("xception")
        except MissingTimmError as error:
            print(error)
    """)
    assert out == "0\ntimm is not installed: pip install 'eyespot[timm]'\n"


def test_listing_the_networks_opens_no_door():
    out = run("""
        import sys
        from eyespot.cli.main import main
        main(["models", "--json"])
        print([name for name in ("timm", "torchvision") if name in sys.modules])
    """)
    assert '"xception"' in out
    assert out.endswith("[]\n")
