"""Variational auto-encoder: Kingma and Welling, 2013; with convolutions, there and back.

Auto-Encoding Variational Bayes, arXiv 1312.6114, ICLR 2014. Transposed convolutions draw the
picture from its code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyespot.v1.preprocessing import PreprocessingRule
from eyespot.zoo.entry import InputFact, Part
from eyespot.zoo.initialisation import initialise, initialise_doubling
from eyespot.zoo.registry import register_model

# Pixels remain in [0, 1]: each is the probability of a dot.
GREY_DOTS = PreprocessingRule(
    resize_size=(28, 28),
    crop_size=None,
    interpolation="bilinear",
    color_order="GRAY",
    mean=(0.0,),
    std=(1.0,),
)
_LATENT_SIZE = 20
_MAPS = (32, 64)


def _halved(size: int) -> int:
    """Tell what a 3x3 convolution of stride 2 with a margin of one leaves of a size."""
    return (size + 1) // 2


class Encoder(nn.Module):
    """From a picture to the normal distribution of its code."""

    def __init__(self, in_channels: int, *, input_size: int, latent_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _MAPS[0], 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(_MAPS[0], _MAPS[1], 3, stride=2, padding=1)
        elements = _MAPS[1] * _halved(_halved(input_size)) ** 2
        self.mean = nn.Linear(elements, latent_size)
        self.log_variance = nn.Linear(elements, latent_size)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and logarithm of the variance, (B, C, H, W) -> twice (B, D)."""
        x = functional.relu(self.conv1(image))  # -> (B, 32, H/2, W/2)
        x = functional.relu(self.conv2(x))  # -> (B, 64, H/4, W/4)
        x = torch.flatten(x, 1)  # -> (B, 64 * H/4 * W/4)
        return self.mean(x), self.log_variance(x)


class Decoder(nn.Module):
    """From a code to the picture that it stands for."""

    def __init__(self, out_channels: int, *, output_size: int, latent_size: int) -> None:
        super().__init__()
        half = _halved(output_size)
        self.side = _halved(half)
        self.fc = nn.Linear(latent_size, _MAPS[1] * self.side**2)
        self.deconv1 = _doubling(_MAPS[1], _MAPS[0], half)
        self.deconv2 = _doubling(_MAPS[0], out_channels, output_size)

    def forward(self, latent: Tensor) -> Tensor:
        """Give the probability of a dot in each pixel, (B, D) -> (B, C, H, W)."""
        x = functional.relu(self.fc(latent))  # -> (B, 64 * H/4 * W/4)
        x = x.view(-1, _MAPS[1], self.side, self.side)  # -> (B, 64, H/4, W/4)
        x = functional.relu(self.deconv1(x))  # -> (B, 32, H/2, W/2)
        return torch.sigmoid(self.deconv2(x))  # -> (B, C, H, W)


def _doubling(in_channels: int, out_channels: int, size: int) -> nn.ConvTranspose2d:
    """Make the transpose of a halving 3x3 convolution of maps of this size."""
    # Two sizes are halved to the same one: the even one is what is missed by a pixel.
    return nn.ConvTranspose2d(
        in_channels, out_channels, 3, stride=2, padding=1, output_padding=1 - size % 2
    )


class ConvVAE(nn.Module):
    """Encoder, a code drawn at random, decoder; evaluated, the code is its mean."""

    def __init__(self, *, latent_size: int, in_channels: int, input_size: int) -> None:
        super().__init__()
        self.encoder = Encoder(in_channels, input_size=input_size, latent_size=latent_size)
        self.decoder = Decoder(in_channels, output_size=input_size, latent_size=latent_size)
        initialise(self)
        for layer in (self.encoder.mean, self.encoder.log_variance):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
        nn.init.kaiming_normal_(self.decoder.fc.weight, nonlinearity="relu")
        initialise_doubling(self.decoder.deconv1, nonlinearity="relu")
        initialise_doubling(self.decoder.deconv2, nonlinearity="sigmoid")

    def forward(self, image: Tensor) -> Tensor:
        """Give the picture that the code brings back, (B, C, H, W) -> (B, C, H, W)."""
        mean, log_variance = self.encoder(image)
        latent = reparameterise(mean, log_variance) if self.training else mean
        reconstruction: Tensor = self.decoder(latent)
        return reconstruction


def reparameterise(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw a code so that gradients reach the distribution it is drawn from, (B, D) -> (B, D)."""
    return mean + torch.exp(log_variance / 2) * torch.randn_like(mean)


def negative_elbo(
    reconstruction: Tensor, image: Tensor, mean: Tensor, log_variance: Tensor
) -> Tensor:
    """Give the loss: minus the evidence's lower bound, in nats for one picture.

    Args:
        reconstruction: Probabilities of a dot, (B, C, H, W).
        image: In [0, 1], (B, C, H, W).
        mean: Of the code, (B, D).
        log_variance: Of the code, (B, D).

    Returns:
        A scalar: the mean over the rows.
    """
    surprise = functional.binary_cross_entropy(reconstruction, image, reduction="sum")
    # Appendix B: the divergence from the standard normal distribution.
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
    return (surprise + divergence) / len(image)


def _select_encoder(network: nn.Module) -> nn.Module:
    return network.get_submodule("encoder")


def _select_decoder(network: nn.Module) -> nn.Module:
    return network.get_submodule("decoder")


@register_model(
    "conv_vae",
    paper="Kingma and Welling: Auto-Encoding Variational Bayes, arXiv 1312.6114, ICLR 2014",
    year=2013,
    input_size=(1, 28, 28),
    min_input_size=1,
    num_classes=_LATENT_SIZE,
    parameter_count=228_905,
    macs=2_107_392,
    receptive_field=7,
    task="image",
    parts=(
        Part(
            suffix="encoder",
            inputs=(InputFact("image", (1, 28, 28)),),
            outputs=("mean", "log_variance"),
            select=_select_encoder,
        ),
        Part(
            suffix="decoder",
            inputs=(InputFact("latent", (_LATENT_SIZE,)),),
            outputs=("image",),
            select=_select_decoder,
        ),
    ),
    departures="Two strided convolutions, and their transposes, where the paper has full layers; "
    "random weights after He et al. 2015. `num_classes` is the length of the code.",
    preprocessing=GREY_DOTS,
)
def conv_vae(*, num_classes: int, in_channels: int, input_size: int) -> nn.Module:
    """Build it for codes of `num_classes` numbers and pictures of exactly `input_size`."""
    return ConvVAE(latent_size=num_classes, in_channels=in_channels, input_size=input_size)
