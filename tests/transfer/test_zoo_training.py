import torch
from tests.transfer.conftest import some

from eyespot.exporter.preprocessed import Preprocessed
from eyespot.transfer import accuracy, load_digits, train_zoo_model
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
    rule = model_entry("lenet5_modern").preprocessing
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
