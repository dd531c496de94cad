"""`eyespot compare`."""

from PIL import Image

FAST = ["--repeats", "1", "--max-batch-size", "2"]


def test_two_networks_in_a_table_and_a_picture(run, tmp_path):
    ran = run("compare", "lenet5", "lenet5_modern", *FAST, "--output", tmp_path / "c.png")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split()[:4] == ["NETWORK", "PARAMETERS", "MACS", "DEPTH"]
    assert lines[1].split()[:3] == ["lenet5", "60,000", "415,680"]
    assert lines[2].split()[:2] == ["lenet5_modern", "61,706"]
    assert lines[-1] == f"drawn in {tmp_path / 'c.png'}"
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG"


def test_json(run):
    told = run("compare", "lenet5_modern", *FAST, "--json").json
    [network] = told["networks"]
    assert (network["parameters"], network["latency_ratio"]) == (61_706, 1.0)
    assert network["latency_ms"] > 0
    assert told["picture"] is None


def test_an_unknown_name_suggests_the_nearest(run):
    ran = run("compare", "lenet5", "resnet19")
    assert ran.code == 1
    assert "did you mean 'resnet18'?" in ran.err
    assert run("compare").code == 2
