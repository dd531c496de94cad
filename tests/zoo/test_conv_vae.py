"""The auto-encoder: its loss against torch.distributions, its parts, and that it learns."""

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.conv_vae import negative_elbo, reparameterise


def test_the_loss_is_minus_the_evidences_lower_bound():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(3, 5), torch.randn(3, 5)
    image, reconstruction = torch.rand(3, 1, 4, 4).round(), torch.rand(3, 1, 4, 4)
    code = Normal(mean, (log_variance / 2).exp())
    divergence = kl_divergence(code, Normal(0.0, 1.0)).sum(1)
    likelihood = Bernoulli(reconstruction).log_prob(image).sum((1, 2, 3))
    expected = (divergence - likelihood).mean()
    found = negative_elbo(reconstruction, image, mean, log_variance)
    torch.testing.assert_close(found, expected)


def test_codes_are_drawn_from_their_distribution():
    torch.manual_seed(0)
    mean = torch.tensor([[2.0, -1.0]]).repeat(20_000, 1)
    log_variance = torch.tensor([[0.0, 2.0]]).repeat(20_000, 1)
    codes = reparameterise(mean, log_variance)
    assert codes.mean(0).tolist() == pytest.approx([2.0, -1.0], abs=0.1)
    assert codes.std(0).tolist() == pytest.approx([1.0, torch.e], abs=0.1)


def test_gradients_reach_the_distribution_through_the_draw():
    mean = torch.zeros(1, 1, requires_grad=True)
    log_variance = torch.zeros(1, 1, requires_grad=True)
    code = reparameterise(mean, log_variance)
    code.sum().backward()
    assert mean.grad.item() == 1
    assert log_variance.grad.item() == pytest.approx(code.item() / 2)


def test_evaluation_takes_the_mean_and_training_draws():
    network = create_model("conv_vae")
    image = torch.rand(2, 1, 28, 28)
    mean, _ = network.encoder(image)
    assert torch.equal(network(image), network.decoder(mean))
    network.train()
    assert not torch.equal(network(image), network(image))


def test_the_parts_are_encoder_and_decoder():
    network, entry = create_model("conv_vae"), model_entry("conv_vae")
    encoder, decoder = entry.parts
    assert (encoder.suffix, encoder.outputs) == ("encoder", ("mean", "log_variance"))
    assert (decoder.suffix, decoder.outputs) == ("decoder", ("image",))
    (image,), (latent,) = encoder.inputs, decoder.inputs
    assert (image.name, latent.name) == ("image", "latent")
    codes = encoder.select(network)(torch.rand(2, *image.shape))
    assert [tuple(code.shape) for code in codes] == [(2, *latent.shape)] * 2
    picture = decoder.select(network)(codes[0])
    assert picture.shape == (2, *image.shape)
    assert 0 < picture.min() < picture.max() < 1


@pytest.mark.parametrize("size", [1, 5, 27, 28, 30, 32])
def test_pictures_come_back_in_their_size(size):
    network = create_model("conv_vae", num_classes=3, in_channels=2, input_size=size)
    assert network(torch.rand(2, 2, size, size)).shape == (2, 2, size, size)


def test_the_decoder_mirrors_the_encoder():
    network = create_model("conv_vae")
    for conv, deconv in [
        (network.encoder.conv1, network.decoder.deconv2),
        (network.encoder.conv2, network.decoder.deconv1),
    ]:
        assert conv.weight.shape == deconv.weight.shape
        assert (conv.stride, conv.padding) == (deconv.stride, deconv.padding)


def test_different_pictures_have_different_codes():
    torch.manual_seed(0)
    network = create_model("conv_vae")
    mean, _ = network.encoder(torch.rand(8, 1, 28, 28))
    assert mean.std(0).mean() > 0.05
    assert network.decoder(torch.randn(8, 20)).std(0).mean() > 0.05


def test_it_learns_to_bring_pictures_back():
    torch.manual_seed(0)
    network = create_model("conv_vae", num_classes=2, input_size=8).train()
    # Two kinds of pictures: the upper or the lower half is inked.
    images = torch.zeros(16, 1, 8, 8)
    images[:8, :, :4], images[8:, :, 4:] = 1.0, 1.0
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(100):
        mean, log_variance = network.encoder(images)
        drawn = network.decoder(reparameterise(mean, log_variance))
        loss = negative_elbo(drawn, images, mean, log_variance)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert (network.eval()(images).round() == images).float().mean() > 0.95
