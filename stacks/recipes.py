"""The recipes that a run can name: files of model_code/recipes. Their names are all that is read here."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "model_code" / "recipes"


def recipe_names() -> list[str]:
    """In alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))
