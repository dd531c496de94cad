"""FaceNet against its paper: table 2, the sphere, and the verdict on two faces."""

import math

import pytest
import torch
from torch import nn

from eyespot.zoo import create_model, model_entry
from eyespot.zoo.facenet import L2Pool2d, verify

# Table 2: size out and thousands of parameters of each row.
TABLE_2 = {
    "inception3a": ((256, 28, 28), 164),
    "inception3b": ((320, 28, 28), 228),
    "inception3c": ((640, 14, 14), 398),
    "inception4a": ((640, 14, 14), 545),
    "inception4b": ((640, 14, 14), 595),
    "inception4c": ((640, 14, 14), 654),
    "inception4d": ((640, 14, 14), 722),
    "inception4e": ((1024, 7, 7), 717),
    "inception5a": ((1024, 7, 7), 1_600),
    "inception5b": ((1024, 7, 7), 1_600),
}


def on_meta():
    with torch.device("meta"):
        return create_model("facenet")


def test_modules_have_the_sizes_of_table_2():
    network = on_meta()
    sizes = {}
    for name, module in network.inception.named_children():
        module.register_forward_hook(
            lambda _m, _i, output, name=name: sizes.update({name: tuple(output.shape[1:])})
        )
    network(torch.empty(1, 3, 224, 224, device="meta"))
    assert sizes == {name: size for name, (size, _) in TABLE_2.items()}


def test_modules_have_the_parameters_of_table_2():
    for name, module in on_meta().inception.named_children():
        thousands = sum(p.numel() for p in module.parameters()) / 1000
        # The paper rounds, and it is not said whether with the biases.
        assert thousands == pytest.approx(TABLE_2[name][1], rel=0.01)


def test_the_totals_are_table_2s():
    entry = model_entry("facenet")
    assert round(entry.parameter_count / 1e6, 1) == 7.5
    assert round(entry.macs / 1e9, 1) == 1.6


def test_embeddings_lie_on_the_sphere():
    network = create_model("facenet")
    embeddings = network(torch.randn(3, 3, 40, 40))
    assert embeddings.shape == (3, 128)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))


def test_an_embedding_does_not_depend_on_its_neighbours():
    network = create_model("facenet")
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]), atol=1e-5, rtol=1e-4)


def test_l2_pooling_by_hand():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0], x[0, 0, 1, 1] = 3.0, 4.0
    pooled = L2Pool2d()(x)[0, 0]
    assert pooled[1, 1].item() == pytest.approx(5 / 3)  # sqrt((9 + 16) / 9)
    assert pooled[2, 2].item() == pytest.approx(4 / 3)
    assert pooled[3, 3].item() == pytest.approx(0, abs=1e-5)


def test_nothing_has_a_gradient():
    x = torch.zeros(1, 1, 3, 3, requires_grad=True)
    (gradients,) = torch.autograd.grad(L2Pool2d()(x).sum(), x)
    assert gradients.isfinite().all()


class Angle(nn.Module):
    """Embeds a picture of one number as a point on the circle."""

    def forward(self, x):
        return torch.cat([torch.cos(x), torch.sin(x)], dim=1).flatten(1)


def test_the_verdict_by_hand():
    # The chord over 60 degrees is 1, over 90 degrees the root of 2.
    zero, sixty, ninety = (torch.full((1, 1, 1), math.radians(degrees)) for degrees in (0, 60, 90))
    same, other = verify(Angle(), zero, sixty), verify(Angle(), zero, ninety)
    assert (same.squared_distance, same.is_same) == (pytest.approx(1), True)
    assert (other.squared_distance, other.is_same) == (pytest.approx(2), False)
    assert not verify(Angle(), zero, sixty, threshold=0.9).is_same


def test_a_face_is_itself():
    network = create_model("facenet")
    face = torch.randn(3, 32, 32)
    verdict = verify(network, face, face)
    assert (verdict.squared_distance, verdict.is_same) == (pytest.approx(0, abs=1e-6), True)
