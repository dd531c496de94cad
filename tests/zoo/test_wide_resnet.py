import torch

from eyespot.zoo import create_model, load_weights, model_entry
from eyespot.zoo.preact_resnet import BasicUnit, CifarPreActResNet
from eyespot.zoo.wide_resnet import rename_ported_layers


def on_meta(name):
    with torch.device("meta"):
        return create_model(name)


def test_28_layers_ten_times_as_wide():
    network = on_meta("wide_resnet28_10")
    stages = (network.layer1, network.layer2, network.layer3)
    # Of depth 6n + 4: n units of two convolutions in each of three stages.
    assert [len(stage) for stage in stages] == [4, 4, 4]
    assert [stage[-1].conv2.out_channels for stage in stages] == [160, 320, 640]
    assert [stage[0].conv1.stride for stage in stages] == [(1, 1), (2, 2), (2, 2)]
    assert model_entry("wide_resnet28_10").parameter_count == 36_479_194


def test_a_bottleneck_is_twice_as_wide_as_resnets():
    for name, plain in (("wide_resnet50_2", "resnet50"), ("wide_resnet101_2", "resnet101")):
        wide, narrow = on_meta(name), on_meta(plain)
        for stage in ("layer1", "layer4"):
            ours, theirs = (n.get_submodule(stage)[-1] for n in (wide, narrow))
            assert ours.conv2.out_channels == 2 * theirs.conv2.out_channels
            assert ours.conv3.out_channels == theirs.conv3.out_channels


def test_the_names_of_the_port_become_ours():
    ported = [
        "conv1.weight",
        "block1.layer.0.bn1.weight",
        "block1.layer.0.convShortcut.weight",
        "block3.layer.3.conv2.weight",
        "bn1.running_mean",
        "fc.bias",
    ]
    assert list(rename_ported_layers(dict.fromkeys(ported, torch.zeros(1)))) == [
        "conv1.weight",
        "layer1.0.bn1.weight",
        "layer1.0.shortcut.weight",
        "layer3.3.conv2.weight",
        "bn.running_mean",
        "fc.bias",
    ]
    ours = on_meta("wide_resnet28_10").state_dict()
    assert set(rename_ported_layers(ours)) == set(ours)
    assert {"layer1.0.shortcut.weight", "layer3.3.conv2.weight", "bn.running_mean"} <= set(ours)


def test_a_file_of_the_port_loads(tmp_path, monkeypatch):
    entry = model_entry("wide_resnet28_10")
    small = CifarPreActResNet(
        BasicUnit, units=1, widths=(2, 2, 2), num_classes=3, in_channels=3
    ).eval()
    monkeypatch.setattr("eyespot.zoo.weights.entry_of", lambda module: entry)
    ported = {
        "bn1" + name[2:]
        if name.startswith("bn.")
        else name.replace("shortcut", "convShortcut")
        .replace("layer1.", "block1.layer.")
        .replace("layer2.", "block2.layer.")
        .replace("layer3.", "block3.layer."): torch.full_like(tensor, 2)
        for name, tensor in small.state_dict().items()
    }
    torch.save({"state_dict": {f"module.{name}": t for name, t in ported.items()}}, tmp_path / "f")
    load_weights(small, tmp_path / "f")
    assert all((tensor == 2).all() for tensor in small.state_dict().values())
