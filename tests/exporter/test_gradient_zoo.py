"""The gradient graphs of every classification network of the zoo; for `make test-all`."""

import pytest

from eyespot.exporter import export_zoo_model
from eyespot.zoo import list_models, model_entry

CLASSIFIERS = [name for name in list_models() if model_entry(name).task == "classification"]


@pytest.mark.giant
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gradients_are_pytorchs(name, tmp_path):
    result = export_zoo_model(name, repository=tmp_path, gradient_graph=True)
    assert not result.manifest.gradient_graphs.reason
    for case in result.manifest.parity.gradients:
        assert case.median_rel_l2 <= max(1e-3, 4 * case.own_rel_l2)
        assert case.least_cosine >= min(0.999, 1 - 4 * (1 - case.own_cosine))
