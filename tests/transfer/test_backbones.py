import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from eyespot.exporter.capture import capture
from eyespot.exporter.original_file import save_original
from eyespot.exporter.preprocessed import Preprocessed
from eyespot.transfer import BackboneError, HeadError, load_backbone
from eyespot.transfer.exported_backbones import load_exported
from eyespot.v1.manifest import Manifest, Provenance, TensorSpec, write_manifest
from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.v1.sha256 import sha256_of
from eyespot.zoo import WeightsError, create_model, model_entry

RULE = PreprocessingRule((8, 8), None, "bilinear", "RGB", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


class Network(nn.Module):
    """A user's own."""

    def __init__(self, *, behind=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(4, 3)
        self.behind = behind or nn.Identity()

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))  # (B, 3, H, W) -> (B, 4)
        return self.behind(self.fc(self.drop(x)))


def enliven_norms(network):
    """Give batch norms something to do."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return network


def put_into_repository(network, folder, *, architecture, rule=RULE, program=None):
    """Write what a backbone reads of a version: the program and the manifest."""
    version = folder / "model" / "1"
    version.mkdir(parents=True)
    if rule is None:
        module, sample = network, torch.zeros(1, 3, 8, 8)
        shape = ("batch", 3, 8, 8)
    else:
        module = Preprocessed(network, rule).eval()
        shape = ("batch", *rule.size, rule.channels)
        sample = torch.zeros(1, *shape[1:], dtype=torch.uint8)
    if program is None:
        save_original(capture(module, sample), version / "original.pt2")
    else:
        shutil.copy(program, version / "original.pt2")
    write_manifest(
        Manifest(
            model_name="model",
            model_version="1",
            provenance=Provenance(architecture, paper="A paper", year=2020, weights="mine.pt"),
            inputs=(TensorSpec("image", "UINT8", shape),),
            outputs=(TensorSpec("logits", "FP32", ("batch", 3)),),
            channel_axis=3,
            gradient_node=None,
            preprocessing=rule,
            parity=None,
            opset_version=18,
            parameter_count=None,
            files={},
            library_versions={},
        ),
        version / "manifest.json",
    )
    return version


@pytest.fixture(scope="module")
def own_program(tmp_path_factory):
    """A user's network with RULE, captured once for several tests."""
    folder = tmp_path_factory.mktemp("captured")
    version = put_into_repository(Network().eval(), folder, architecture="Network")
    return version / "original.pt2"


def same_but(head, one, other):
    """Check that two networks have the same tensors, but for those of a head."""
    one, other = one.state_dict(), other.state_dict()
    rest = [name for name in one if not name.startswith(head)]
    assert rest
    return all(torch.equal(one[name], other[name]) for name in rest)


def test_all_but_the_head_is_loaded_and_the_rest_is_told(tmp_path):
    donor = enliven_norms(create_model("resnet20"))
    path = tmp_path / "ten.pt"
    torch.save(donor.state_dict(), path)
    backbone = load_backbone("resnet20", weights=path, num_classes=4)
    assert same_but("linear.", backbone.network, donor)
    assert backbone.missing == backbone.unexpected == ("linear.weight", "linear.bias")
    assert (backbone.head.name, backbone.head_layer.out_features) == ("linear", 4)
    told = backbone.provenance
    assert (told.architecture, told.weights, told.year) == ("resnet20", "ten.pt", 2015)
    assert told.weights_sha256 == sha256_of(path)
    assert backbone.rule == model_entry("resnet20").preprocessing
    assert not backbone.network.training


def test_a_head_of_as_many_classes_is_fresh_all_the_same(tmp_path):
    """Ten other classes are not those of the file."""
    torch.save(create_model("lenet5_modern").state_dict(), tmp_path / "ten.pt")
    one, two = (
        load_backbone("lenet5_modern", weights=tmp_path / "ten.pt", num_classes=10, seed=seed)
        for seed in (1, 2)
    )
    assert same_but("fc3.", one.network, two.network)
    assert not torch.equal(one.head_layer.weight, two.head_layer.weight)


def test_weights_without_any_head_fit(tmp_path):
    state = create_model("lenet5_modern").state_dict()
    torch.save({name: state[name] for name in state if "fc3" not in name}, tmp_path / "rest.pt")
    backbone = load_backbone("lenet5_modern", weights=tmp_path / "rest.pt", num_classes=2)
    assert backbone.unexpected == ()
    assert backbone.missing == ("fc3.weight", "fc3.bias")


def test_weights_of_another_network_are_listed(tmp_path):
    torch.save(create_model("resnet20").state_dict(), tmp_path / "small.pt")
    with pytest.raises(WeightsError, match=r"does not fit.*Missing: layer1\.3\.conv1\.weight"):
        load_backbone("resnet32", weights=tmp_path / "small.pt", num_classes=4)
    torch.save(create_model("lenet5").state_dict(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"Missing: conv1\.weight.*Unexpected: c1\.weight"):
        load_backbone("resnet20", weights=tmp_path / "other.pt", num_classes=4)


def test_random_weights_and_shape_are_as_asked():
    one, two, other = (
        load_backbone("lenet5_modern", num_classes=3, input_size=20, in_channels=3, seed=seed)
        for seed in (1, 1, 2)
    )
    assert same_but("none", one.network, two.network)
    assert not same_but("fc3.", one.network, other.network)
    assert (one.rule.size, one.rule.color_order) == ((20, 20), "RGB")
    assert one.provenance.weights == "random"
    assert one.unexpected == ()
    assert one.module(torch.zeros(2, 20, 20, 3, dtype=torch.uint8)).shape == (2, 3)


def test_a_single_probability_is_one_logit():
    backbone = load_backbone("lenet5_modern", num_classes=1)
    assert backbone.module(torch.zeros(2, 32, 32, 1, dtype=torch.uint8)).shape == (2, 1)


@pytest.mark.parametrize("name", ["lecun1989", "lenet5"])
def test_head_and_tail_give_what_the_network_gives(name):
    backbone = load_backbone(name, num_classes=5)
    given = []
    backbone.head_layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    pixels = torch.randint(0, 256, (3, *backbone.rule.size, backbone.rule.channels)).byte()
    logits = backbone.module(pixels)
    assert torch.equal(backbone.tail(backbone.head_layer(given[0])), logits)
    assert not list(backbone.tail.parameters())


def test_a_tail_that_takes_more_than_the_head_gives_is_refused():
    class Detour(Network):
        def forward(self, x):
            return super().forward(x) + x.mean((1, 2, 3))[:, None]

    with pytest.raises(HeadError, match="which is not the head's"):
        load_backbone(Detour(), rule=RULE, num_classes=2, head="fc")


def test_a_module_needs_a_rule_and_keeps_its_weights(tmp_path):
    network, donor = Network(), enliven_norms(Network())
    torch.save(donor.state_dict(), tmp_path / "own.pt")
    with pytest.raises(BackboneError, match="give a rule"):
        load_backbone(network, num_classes=2)
    backbone = load_backbone(
        network, weights=tmp_path / "own.pt", rule=RULE, num_classes=2, head="fc"
    )
    assert backbone.network is network
    assert same_but("fc.", network, donor)
    assert backbone.provenance.architecture == "Network"
    with pytest.raises(HeadError, match="no layer 'head'"):
        load_backbone(network, rule=RULE, num_classes=2, head="head")


def test_an_exported_network_of_the_zoo_is_built_anew(tmp_path):
    rule = model_entry("lenet5_modern").preprocessing
    donor = create_model("lenet5_modern", num_classes=3)
    version = put_into_repository(donor, tmp_path, architecture="lenet5_modern", rule=rule)
    backbone = load_backbone(tmp_path / "model", num_classes=5)
    assert type(backbone.network) is type(donor)
    assert same_but("fc3.", backbone.network, donor)
    assert backbone.rule == rule
    assert backbone.unexpected == ("fc3.weight", "fc3.bias")
    told = backbone.provenance
    assert (told.architecture, told.paper) == ("lenet5_modern", "A paper")
    assert told.weights == "model 1 of the repository"
    assert told.training == {"weights": "mine.pt"}
    assert told.weights_sha256 == sha256_of(version / "original.pt2")


@pytest.mark.parametrize("rule", [RULE, None])
def test_an_exported_module_is_trained_as_it_was_captured(tmp_path, rule):
    donor = enliven_norms(Network()).eval()
    put_into_repository(donor, tmp_path, architecture="Network", rule=rule)
    pictures = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        captured = load_exported(tmp_path / "model").network(pictures)
        assert torch.allclose(captured, donor(pictures), atol=1e-6)
    network = load_backbone(str(tmp_path / "model"), num_classes=5, rule=RULE).network
    network.train()(pictures).sum().backward()
    assert all(value.grad is not None for value in network.parameters())
    assert len(list(network.parameters())) == len(list(donor.parameters()))


@pytest.mark.parametrize("name", ["article_example", "lenet5_modern"])
def test_an_exported_module_of_a_zoo_name_is_not_taken_for_it(tmp_path, own_program, name):
    """The first has other tensors, the second takes no pictures of 8x8."""
    put_into_repository(Network(), tmp_path, architecture=name, program=own_program)
    assert load_backbone(tmp_path / "model", num_classes=5).head.name == "head"


def test_a_program_whose_head_is_none_is_refused(tmp_path):
    network = Network(behind=nn.BatchNorm1d(3)).eval()
    put_into_repository(network, tmp_path, architecture="Network")
    with pytest.raises(BackboneError, match="the last layer of its captured program is neither"):
        load_backbone(tmp_path / "model", num_classes=2)


def test_what_cannot_be_a_backbone_is_told(tmp_path, own_program):
    with pytest.raises(BackboneError, match="neither a network of the zoo nor a model"):
        load_backbone("resnet19", num_classes=2)
    with pytest.raises(ValueError, match="cannot learn from pictures"):
        load_backbone("tdnn", num_classes=2)
    version = put_into_repository(Network(), tmp_path, architecture="Network", program=own_program)
    with pytest.raises(BackboneError, match="leave out weights, input_size"):
        load_backbone(tmp_path / "model", weights="x.pt", input_size=9, num_classes=2)
    wide = PreprocessingRule((8, 9), None, "bilinear", "RGB", (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(BackboneError, match=r"size \(8, 9\), the network takes 3 and \(8, 8\)"):
        load_backbone(tmp_path / "model", rule=wide, num_classes=2)
    (version / "original.pt2").write_bytes(b"torn")
    with pytest.raises(BackboneError, match=r"cannot be a backbone: original\.pt2"):
        load_backbone(tmp_path / "model", num_classes=2)
    (version / "manifest.json").write_text("{}")
    with pytest.raises(BackboneError, match=r"cannot be a backbone: manifest\.json"):
        load_backbone(tmp_path / "model", num_classes=2)


def test_the_published_cifar_weights_are_a_backbone():
    path = Path(os.environ.get("EYESPOT_DATA", "nowhere")) / "resnet20-12fca82f.th"
    if not path.is_file():
        pytest.skip("EYESPOT_DATA names no folder with resnet20-12fca82f.th")
    backbone = load_backbone("resnet20", weights=path, num_classes=4)
    assert backbone.provenance.weights_sha256.startswith("12fca82f")
    assert same_but("linear.", backbone.network, create_model("resnet20", weights=path))
    assert np.isfinite(
        backbone.module(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).detach().numpy()
    ).all()
