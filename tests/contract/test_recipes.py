"""Recipes are named in environments.py and lie in model_code/recipes: every name there has a file here."""

import pytest
from amplify_lm.settings import read_recipe
from amplify_lm.settings import recipe_names as names_of_the_model

from environments import ENVIRONMENTS
from stacks.recipes import recipe_names

TRAINING = {name: each.training for name, each in ENVIRONMENTS.items() if each.training is not None}


@pytest.mark.parametrize("environment", TRAINING)
def test_an_environments_recipe_can_be_read(environment: str) -> None:
    recipe = TRAINING[environment].recipe
    assert read_recipe(recipe, {}).name == recipe


def test_the_settings_know_the_recipes_that_the_model_can_read() -> None:
    assert recipe_names() == names_of_the_model()
