"""Who may import whom, read from the source: the halves of the project share data, never each other's insides."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"app", "environments", "stacks", "operate", "local_aws", "amplify_lm"} | {
    path.stem for path in (ROOT / "model_code").glob("*.py")
}
ALLOWED = {  # part → what its files may import beside the standard library
    "stacks": {"stacks", "aws_cdk", "constructs"},
    "environments.py": {"stacks"},
    "app.py": {"environments", "stacks", "aws_cdk"},
    "model_code": {"torch", "numpy", "safetensors", "starlette", "uvicorn", "boto3", "botocore", "anyio"}
    | {"yaml", "huggingface_hub"}  # inside functions only: for checkpoints in other people's layouts
    | (OURS - {"app", "environments", "stacks", "operate", "local_aws"}),
}
FORBIDDEN = {  # part → what its files must not import, whatever else they need
    "operate": {"stacks", "amplify_lm", "aws_cdk"},
    "local_aws": {"stacks", "operate", "environments", "amplify_lm", "aws_cdk", "torch"},
}


def imported(source: str) -> set[str]:
    """Top-level names of every import in the source, the late ones too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


def files(part: str) -> list[Path]:
    path = ROOT / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_it_is_made_of(part: str) -> None:
    strangers = {str(file.relative_to(ROOT)): imported(file.read_text()) - ALLOWED[part] for file in files(part)}
    assert {file: names for file, names in strangers.items() if names} == {}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_a_part_does_not_reach_into_another(part: str) -> None:
    reached = {str(file.relative_to(ROOT)): imported(file.read_text()) & FORBIDDEN[part] for file in files(part)}
    assert {file: names for file, names in reached.items() if names} == {}


def test_the_pipeline_definition_needs_no_cdk() -> None:
    for module in ("pipeline_definition", "config", "instance_types", "release"):
        assert imported((ROOT / "stacks" / f"{module}.py").read_text()) <= {"stacks"}


def test_constructs_and_stacks_know_no_environment_by_name() -> None:
    for file in files("stacks"):
        assert "environments" not in imported(file.read_text()), file


def test_an_import_inside_a_function_is_seen() -> None:
    source = "import os\ndef f():\n    from torch.nn import Linear\n    import stacks.config as c\n"
    assert imported(source) == {"torch", "stacks"}
