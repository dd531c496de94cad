from dataclasses import replace

import pytest
import torch
from tests.transfer.conftest import some

from eyespot.exporter.preprocessed import Preprocessed
from eyespot.transfer import (
    ExamplesError,
    accuracy,
    load_digits,
    train_zoo_model,
    training_rule,
)
from eyespot.zoo import model_entry


def test_a_network_learns_digits_in_a_few_epochs():
    split = load_digits()
    # By chance a tenth would be right.
    trained = train_zoo_model(
        "lenet5_modern",
        some(split.train, 300),
        held_out=split.test,
        epochs=6,
        learning_rate=5e-3,
        seed=1,
    )
    assert trained.accuracy > 0.6
    rule = training_rule("lenet5_modern")
    assert rule == model_entry("lenet5_modern").preprocessing
    served = Preprocessed(trained.network, rule).eval()
    assert accuracy(served, split.test) == trained.accuracy


def test_one_seed_gives_one_network():
    examples = some(load_digits().train, 64)

    def weights(seed, elsewhere=0):
        torch.manual_seed(elsewhere)
        trained = train_zoo_model(
            "lenet5", examples, held_out=examples, epochs=1, learning_rate=5e-3, seed=seed
        )
        return torch.cat([value.flatten() for value in trained.network.parameters()])

    first = weights(1)
    assert torch.equal(first, weights(1, elsewhere=9))
    assert not torch.equal(first, weights(2))


def test_another_size_and_colour_pictures_are_learnt_too():
    rule = training_rule("resnet20", in_channels=1, input_size=16)
    assert (rule.size, rule.color_order) == ((16, 16), "GRAY")
    examples = some(load_digits().train, 16).prepared(rule)
    trained = train_zoo_model(
        "resnet20",
        examples,
        held_out=examples,
        epochs=1,
        learning_rate=1e-3,
        seed=0,
        in_channels=1,
        input_size=16,
    )
    assert trained.network.conv1.in_channels == 1
    assert 0 <= trained.accuracy <= 1


def test_a_network_that_classifies_no_pictures_is_refused(monkeypatch):
    entry = replace(model_entry("lenet5"), task="segmentation")
    monkeypatch.setattr("eyespot.transfer.zoo_training.model_entry", lambda name: entry)
    with pytest.raises(ExamplesError, match=r"lenet5 cannot learn.*a network for segmentation"):
        training_rule("lenet5")
    entry = replace(entry, task="classification", preprocessing=None)
    with pytest.raises(ExamplesError, match="of other inputs than pictures"):
        training_rule("lenet5")
