"""Published weights: a server of our own stands for torchvision's."""

import functools
import hashlib
import http.server
import logging
import socket
import threading

import pytest
import torch

from eyespot.v1.preprocessing import IMAGENET
from eyespot.zoo import WeightsError, create_model, load_weights, model_entry, weights_origin
from eyespot.zoo.published import (
    PublishedWeights,
    fetch_weights,
    find_published,
    identify_file,
    published_weights,
)

CONTENT = b"weights, for all the download knows"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """Keep PyTorch's hub folder out of the user's home."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def address(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / f"net-{SHA256[:8]}.pth").write_bytes(CONTENT)
    (folder / "net-00000000.pth").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def weights_at(url, prefix=SHA256[:8]):
    return PublishedWeights(
        name="V1", architecture="net", url=url, sha256_prefix=prefix, preprocessing=IMAGENET
    )


def test_a_file_is_fetched_once(address, hub):
    url = f"{address}/net-{SHA256[:8]}.pth"
    path = fetch_weights(weights_at(url))
    assert path.parent == hub
    assert path.read_bytes() == CONTENT
    path.write_bytes(b"kept")
    assert fetch_weights(weights_at(url)).read_bytes() == b"kept"


def test_a_file_with_another_hash_is_refused(address, hub):
    with pytest.raises(WeightsError, match=r"V1 of net could not be fetched.*hash"):
        fetch_weights(weights_at(f"{address}/net-00000000.pth", "00000000"))
    assert list(hub.iterdir()) == []


def test_a_file_that_is_not_there_is_one_sentence(address):
    with pytest.raises(WeightsError, match=r"404.*fetch that file where there is a network"):
        fetch_weights(weights_at(f"{address}/gone-00000000.pth"))


def test_no_network_is_one_sentence():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/net-00000000.pth"
        with pytest.raises(WeightsError, match=rf"could not be fetched from {url}.*refused"):
            fetch_weights(weights_at(url))


def test_names_of_torchvision():
    entry = model_entry("resnet50")
    assert [weights.name for weights in published_weights(entry)] == [
        "IMAGENET1K_V1",
        "IMAGENET1K_V2",
    ]
    assert find_published(entry, "DEFAULT").name == "IMAGENET1K_V2"
    assert find_published(entry, "ResNet50_Weights.IMAGENET1K_V1").sha256_prefix == "0676ba61"
    assert find_published(entry, "imagenet") is None
    assert published_weights(model_entry("lenet5")) == []
    assert find_published(model_entry("lenet5"), "DEFAULT") is None


def test_networks_that_label_every_pixel_have_published_weights_and_no_crop():
    (weights,) = published_weights(model_entry("deeplab_v3_resnet50"))
    assert weights.name == "COCO_WITH_VOC_LABELS_V1"
    assert weights.preprocessing == model_entry("deeplab_v3_resnet50").preprocessing
    assert weights.preprocessing.crop_size is None


def test_a_file_is_known_by_its_hash():
    entry = model_entry("googlenet")
    assert identify_file(entry, "1378be20" + "0" * 56).name == "IMAGENET1K_V1"
    assert identify_file(entry, "0" * 64) is None
    assert identify_file(model_entry("lenet5"), "0" * 64) is None


def with_auxiliary_heads(network):
    heads = {"aux1.conv.conv.weight": torch.zeros(128, 512, 1, 1), "aux2.fc2.bias": torch.zeros(1)}
    return {**network.state_dict(), **heads}


def test_googlenet_renormalises_with_published_weights_alone(tmp_path, hub, caplog):
    trained = create_model("googlenet")
    hub.mkdir(parents=True)
    torch.save(with_auxiliary_heads(trained), hub / "googlenet-1378be20.pth")
    with caplog.at_level(logging.DEBUG, "eyespot.zoo"):
        network = create_model("googlenet", weights="IMAGENET1K_V1")
    assert "aux1.conv.conv.weight, aux2.fc2.bias" in caplog.text
    origin = weights_origin(network)
    assert (origin.source, origin.published) == ("IMAGENET1K_V1", "IMAGENET1K_V1")
    assert network.transform_input
    assert origin.transform_input
    images = torch.randn(2, 3, 32, 32)
    # From ImageNet's mean and deviation to 0.5 and 0.5, as the paper's authors trained it.
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
    halved = (images * std + mean - 0.5) / 0.5
    torch.testing.assert_close(network(images), trained(halved), rtol=1e-4, atol=1e-4)

    # The same tensors in a file of one's own: nothing tells that they need it.
    torch.save(trained.state_dict(), tmp_path / "mine.pt")
    assert not load_weights(network, tmp_path / "mine.pt").transform_input
    assert not network.transform_input


def test_published_weights_keep_their_shape(hub):
    hub.mkdir(parents=True)
    state_dict = create_model("mobilenet_v2").state_dict()
    torch.save(state_dict, hub / "mobilenet_v2-b0353104.pth")
    with pytest.raises(WeightsError, match=r"mobilenet_v2-b0353104.pth does not fit.*1000 classes"):
        create_model("mobilenet_v2", weights="IMAGENET1K_V1", num_classes=10)
