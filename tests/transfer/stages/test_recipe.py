import json
import tomllib

import pytest

from eyespot.transfer import SettingsError
from eyespot.transfer.stages import Recipe, read_recipe, recipe_from

UNUSUAL = Recipe(
    backbone="repo/'é\"\\",
    weights=None,
    method="gradual",
    unfreeze=2,
    task="single-probability",
    input_size=64,
    learning_rate=1e-5,
    balance="weights",
    temperature=True,
)


def test_toml_and_json_come_back(tmp_path):
    (tmp_path / "recipe.toml").write_text(UNUSUAL.to_toml(), encoding="utf-8")
    (tmp_path / "recipe.json").write_text(json.dumps(UNUSUAL.to_json()), encoding="utf-8")
    assert read_recipe(tmp_path / "recipe.toml") == UNUSUAL
    assert read_recipe(tmp_path / "recipe.json") == UNUSUAL
    assert tomllib.loads(Recipe().to_toml())["method"] == "last-block"


def test_what_is_not_told_has_its_default_and_a_whole_number_is_a_number():
    recipe = recipe_from({"learning_rate": 1, "unfreeze": "all"})
    assert (recipe.learning_rate, recipe.unfreeze, recipe.epochs) == (1, "all", Recipe().epochs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": "many"}, "epochs cannot be 'many'"),
        ({"epochs": True}, "epochs cannot be True"),
        ({"seed": 1.5}, "seed cannot be 1.5"),
        ({"task": "regression"}, "task cannot be 'regression'"),
        ({"epoch": 3}, "a recipe has no epoch; it has augment, backbone"),
        ({"method": "magic"}, "method must be one of linear-probe, head, last-block, full, gradu"),
        ({"augment": "wild"}, "augment must be one of none, gentle, natural"),
        ({"balance": "luck"}, "balance must be one of none, weights, sampling"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"head_learning_rate": 0.0}, "learning_rate must be a positive number"),
        (
            {"task": "multi-label", "balance": "sampling"},
            "pictures of several classes cannot be sampled",
        ),
    ],
)
def test_what_is_no_recipe_is_told(values, message, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(values))
    with pytest.raises(SettingsError, match=f"{path}: {message}"):
        read_recipe(path)


@pytest.mark.parametrize("text", ["= 1", "[1, 2"])
def test_a_file_that_cannot_be_read_is_named(text, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"recipe\.toml is no recipe"):
        read_recipe(path)
