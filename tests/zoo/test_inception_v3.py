import pytest
import torch

from eyespot.zoo import create_model, load_torchvision, load_weights, model_entry, weights_origin

AUXILIARY = {
    "AuxLogits.conv0.conv.weight": torch.zeros(128, 768, 1, 1),
    "AuxLogits.fc.bias": torch.zeros(1000),
}


def test_the_parameters_are_torchvisions_without_those_of_the_auxiliary_head():
    with torch.device("meta"):
        theirs = load_torchvision().models.inception_v3(init_weights=False)
    auxiliary = sum(parameter.numel() for parameter in theirs.AuxLogits.parameters())
    # What torchvision's documentation tells is with the head.
    assert model_entry("inception_v3").parameter_count == 27_161_264 - auxiliary


def test_no_smaller_input_would_pass():
    with torch.device("meta"):
        network = create_model("inception_v3")
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        network(torch.empty(1, 3, 74, 74, device="meta"))


def test_maps_have_the_sizes_of_table_1():
    with torch.device("meta"):
        network = create_model("inception_v3")
    shapes = []
    for name in ("Mixed_5d", "Mixed_6e", "Mixed_7c"):
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, output: shapes.append(tuple(output.shape[1:]))
        )
    network(torch.empty(1, 3, 299, 299, device="meta"))
    assert shapes == [(288, 35, 35), (768, 17, 17), (2048, 8, 8)]


def test_published_weights_alone_renormalise_the_input(tmp_path, monkeypatch):
    """The auxiliary head in the file is left out."""
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    trained = create_model("inception_v3")
    torch.save({**trained.state_dict(), **AUXILIARY}, hub / "inception_v3_google-0cc3c7bd.pth")
    network = create_model("inception_v3", weights="IMAGENET1K_V1")
    assert weights_origin(network).transform_input
    images = torch.randn(1, 3, 75, 75)
    rule = model_entry("inception_v3").preprocessing
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (rule.mean, rule.std))
    between_minus_one_and_one = (images * std + mean - 0.5) / 0.5
    with torch.no_grad():
        torch.testing.assert_close(
            network(images), trained(between_minus_one_and_one), rtol=1e-4, atol=1e-4
        )
    # The same tensors in a file of one's own: nothing tells that they need it.
    torch.save({**trained.state_dict(), **AUXILIARY}, tmp_path / "mine.pt")
    assert not load_weights(network, tmp_path / "mine.pt").transform_input
