"""Recipes are strict: what is misspelt, mistyped or out of range is named, with what is wanted."""

import json
from pathlib import Path
from typing import Any

import pytest
from amplify_lm.settings import RECIPES, Recipe, SettingsError, parse_overrides, read_recipe, recipe_names

PUBLISHED_PARAMETERS = {"120m": 118_276_507, "350m": 354_008_667}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_bundle_can_be_read(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize("size", ["120m", "350m"])
def test_the_published_sizes_have_the_published_shape(size: str) -> None:
    from amplify_lm.model import Amplify
    from torch import device

    for stage in (1, 2):
        with device("meta"):
            model = Amplify(read_recipe(f"{size}_stage{stage}").model_config())
        assert model.num_parameters == PUBLISHED_PARAMETERS[size]


def test_overrides_lie_over_the_recipe() -> None:
    assert read_recipe("tiny", {"steps": 7, "learning_rate": 1}).steps == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learing_rate": 0.1}, r"unknown key 'learing_rate' \(did you mean 'learning_rate'\?\)"),
        ({"steps": "100"}, "steps is '100', a whole number is wanted"),
        ({"steps": 1.5}, "steps is 1.5, a whole number is wanted"),
        ({"steps": True}, "steps is True, a whole number is wanted"),
        ({"steps": 0}, "steps is 0, 1 to 100000000 is wanted"),
        ({"learning_rate": None}, "learning_rate is None, a number is wanted"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"mask_share": 1.5}, "mask_share is 1.5, 0.01 to 0.9 is wanted"),
        ({"mask_token_share": 0.9, "random_token_share": 0.2}, "at most 1 is wanted"),
        ({"split_by": "species"}, "split_by is 'species', one of auto, cluster, hash is wanted"),
        ({"mix": {"oas": 0}}, "mix: the weight of 'oas' is 0, 0.001 to 1000.0 is wanted"),
        ({"mix": {"a/b": 1}}, "mix: 'a/b' is no name of a folder at the top of the input"),
        ({"mix": {"oas": "much"}}, "mix is {'oas': 'much'}, an object of numbers by name is wanted"),
        ({"mix": 3}, "mix is 3, an object of numbers by name is wanted"),
        ({"random_tokens": "all"}, "random_tokens is 'all', one of residues, vocabulary is wanted"),
        ({"window": 4096}, r"window is 4096, at most max_length \(256\)"),
        ({"tokens_per_step": 32}, r"tokens_per_step is 32, at least window \(64\)"),
        ({"warmup_steps": 40}, r"decay_steps is 40, more than warmup_steps \(40\)"),
        ({"hidden_size": 15}, "hidden_size is 15"),
        ({"name": "other"}, "name cannot be overridden"),
    ],
)
def test_a_bad_override_is_refused_and_says_what_is_wanted(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        read_recipe("tiny", overrides)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(SettingsError, match=r"steps is 0.*clip_norm is 0"):
        read_recipe("tiny", {"steps": 0, "clip_norm": 0})


def test_an_unknown_recipe_names_the_nearest_and_all_there_are() -> None:
    with pytest.raises(SettingsError, match=r"recipe 'dmeo' does not exist \(did you mean 'demo'\?\).*tiny"):
        read_recipe("dmeo")


def test_a_recipe_name_cannot_leave_the_folder() -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        read_recipe("../recipes/tiny")


def test_a_missing_key_of_a_recipe_file_is_named(tmp_path: Path) -> None:
    values = json.loads((RECIPES / "tiny.json").read_text())
    del values["window"]
    (tmp_path / "mine.json").write_text(json.dumps(values))
    with pytest.raises(SettingsError, match="recipe 'mine': window is missing"):
        read_recipe("mine", folder=tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", '"steps"'])
def test_overrides_must_be_a_json_object(text: str) -> None:
    with pytest.raises(SettingsError, match="a JSON object is wanted"):
        parse_overrides(text)


def test_no_overrides_is_an_empty_object() -> None:
    assert parse_overrides("") == parse_overrides("{}") == {}
