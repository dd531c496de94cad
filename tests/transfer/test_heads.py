import pytest
import torch
from torch import nn

from eyespot.transfer import HeadError, drop_auxiliary_heads, find_head, replace_head
from eyespot.zoo import create_model, list_models, load_torchvision, model_entry

HEADS = {
    "alexnet": "classifier.6",
    "article_example": "fc",
    "densenet121": "classifier",
    "googlenet_paper": "fc",
    "lecun1989": "output",
    "lenet5": "output",
    "lenet5_modern": "fc3",
    "mobilenet_v2": "classifier.1",
    "neocognitron": "readout",
    "network_in_network": "mlpconv3.4",
    "resnet18": "fc",
    "resnet20": "linear",
    "shufflenet_v1_g3": "linear",
    "vgg11_bn": "classifier.6",
    "zfnet": "fc8",
}
KINDS = {
    "lenet5": "radial basis functions",
    "network_in_network": "1x1 convolution",
}
# The others of the zoo take longer, and are for `make test-all`.
QUICK = HEADS.keys() - {"densenet121", "mobilenet_v2", "shufflenet_v1_g3"}
PICTURES = [
    name
    for name in list_models()
    if model_entry(name).task == "classification" and len(model_entry(name).input_size) == 3
]


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.giant) for name in PICTURES],
)
def test_the_head_of_each_classifier_is_found_and_replaced(name):
    entry = model_entry(name)
    with torch.device("meta"):
        network = create_model(name)
    names = set(network.state_dict())
    head = find_head(network, entry.input_size)
    assert head.name == HEADS.get(name, head.name)
    assert head.kind == KINDS.get(name, "linear layer")
    assert head.classes == entry.num_classes
    assert not any(layer._forward_hooks for layer in network.modules())
    old = network.get_submodule(head.name)
    assert type(replace_head(network, head.name, 7)) is type(old)
    assert set(network.state_dict()) == names
    logits = network(torch.empty(2, *entry.input_size, device="meta"))
    assert logits.shape == (2, 7)


def test_what_comes_behind_a_head_is_seen():
    for name, is_last in {"lecun1989": False, "network_in_network": False, "lenet5": True}.items():
        assert find_head(create_model(name), model_entry(name).input_size).is_last is is_last


class Classifier(nn.Module):
    """Two linear layers, and what is asked for behind them."""

    def __init__(self, *, behind=lambda x: x, bias=True):
        super().__init__()
        self.hidden = nn.Linear(4, 4)
        self.output = nn.Linear(4, 3, bias=bias)
        self.behind = behind

    def forward(self, x):
        return self.behind(self.output(self.hidden(torch.flatten(x, 1))))


def test_a_head_without_bias_is_not_taken_for_the_layer_before():
    network = Classifier(bias=False)
    assert find_head(network, (1, 2, 2)).name == "output"
    assert replace_head(network, "output", 2).bias is None


def test_a_rectifier_in_place_is_seen():
    assert find_head(Classifier(), (1, 2, 2)).is_last
    assert not find_head(Classifier(behind=nn.ReLU(inplace=True)), (1, 2, 2)).is_last


def test_the_network_stays_as_it_was():
    network = Classifier().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    find_head(network, (1, 2, 2))
    with pytest.raises(HeadError):
        find_head(network, (1, 3, 3))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(value.grad is None for value in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_a_fresh_head_is_small_and_follows_its_seed():
    network = Classifier()
    first = replace_head(network, "output", 50, seed=1).weight.detach()
    assert network.output.bias.tolist() == [0.0] * 50
    assert 0.008 < first.std() < 0.012
    assert torch.equal(first, replace_head(network, "output", 50, seed=1).weight)
    assert not torch.equal(first, replace_head(network, "output", 50, seed=2).weight)


def test_a_fresh_convolution_lets_each_class_through_a_rectifier():
    network = create_model("network_in_network")
    assert (replace_head(network, "mlpconv3.4", 5).weight > 0).all()


def test_the_codes_of_lenet5_are_learnt_and_its_file_stays_what_it_was():
    network = create_model("lenet5")
    head = replace_head(network, "output", 4)
    assert [name for name, _ in head.named_parameters()] == ["codes"]
    assert head.codes.shape == (4, 84)
    create_model("lenet5", num_classes=4).load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("network", "name", "message"),
    [
        (Classifier(), "classifier", r"no layer 'classifier'.*linear layers are hidden, output"),
        (nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(4, 2))), "1", r"is 1\.0 meant\?"),
        (nn.Sequential(nn.Flatten()), None, "found none with weights: name the head"),
        (nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()), None, "0 is a Conv2d: a head is a"),
        (Classifier(behind=lambda x: x[:, :2]), None, "gives 3 values and the network 2 logits"),
        (Classifier(behind=lambda x: (x, x)), None, "gives tuple, a classifier gives logits"),
        (nn.Conv2d(1, 3, 1), None, r"gives \[2, 3, 2, 2\]"),
        (nn.Linear(5, 2), None, "cannot be followed from an input of 1x2x2"),
    ],
)
def test_what_cannot_be_a_head_is_told(network, name, message):
    with pytest.raises(HeadError, match=message):
        find_head(network, (1, 2, 2), name=name)


def test_a_layer_that_is_called_twice_is_no_head():
    network = Classifier()
    network.behind = lambda x: network.output(functional_pad(x))
    with pytest.raises(HeadError, match="output is called 2 times"):
        find_head(network, (1, 2, 2))


def functional_pad(x):
    return nn.functional.pad(x, (0, 1))


def test_no_classes_are_no_head():
    with pytest.raises(HeadError, match="at least, found 0"):
        replace_head(Classifier(), "output", 0)


def test_heads_for_training_alone_are_taken_away():
    with torch.device("meta"):
        network = load_torchvision().models.googlenet(aux_logits=True, init_weights=False)
    assert drop_auxiliary_heads(network) == ("aux1", "aux2")
    assert find_head(network, (3, 64, 64)).name == "fc"
    logits = network.train()(torch.empty(2, 3, 64, 64, device="meta"))
    assert logits.shape == (2, 1000)
    assert drop_auxiliary_heads(network) == ()
    assert drop_auxiliary_heads(Classifier()) == ()
