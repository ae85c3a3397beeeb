"""Who may import whom, read from the source: the halves of the project share data, never each other's insides."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL_CODE = {"amplify_lm"} | {path.stem for path in (ROOT / "model_code").glob("*.py")}
ALLOWED = {  # part → what its files may import beside the standard library
    "stacks": {"stacks", "aws_cdk", "constructs"},
    "environments.py": {"stacks"},
    "app.py": {"environments", "stacks", "aws_cdk"},
    "review": {"review", "stacks", "cfnlint", "yaml"},  # assemblies that are synthesised already, and the price table
    "lambda_code": {"boto3"},  # all that Lambda's runtime has; each file ships alone
    "model_code": {"torch", "numpy", "safetensors", "starlette", "uvicorn", "boto3", "botocore", "anyio"} | MODEL_CODE,
}
ISLANDS = {  # single files that need more, and that neither training nor serving loads
    # A program of its own, which runs in the folder of the side that it synthesises.
    "review/synthesise.py": {"environments", "aws_cdk", "cdk_nag"},
    "stacks/nag_pack.py": {"cdk_nag", "jsii"},  # for whoever asks for the checks
    "model_code/amplify_lm/hf.py": {"transformers", "tokenizers"},  # for people who come from Hugging Face
    "model_code/amplify_lm/checkpoint_hub.py": {"huggingface_hub"},  # downloads, where people have it installed
    "model_code/amplify_lm/fasta.py": {"backports", "compression"},  # zstd, of a package until Python 3.14 has it
    "model_code/amplify_lm/sorted_runs.py": {"xxhash"},  # preparing a corpus alone
    "model_code/amplify_lm/checkpoint_files.py": {"yaml"},  # other people's checkpoint layouts
}
FORBIDDEN = {  # part → what its files must not import, whatever else they need
    "operate": {"amplify_lm", "aws_cdk"},
    "local_aws": {"stacks", "operate", "environments", "amplify_lm", "aws_cdk", "torch"},
}


def modules(source: str) -> set[str]:
    """Dotted names of every import in the source, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return names


def packages(source: str) -> set[str]:
    """Top-level packages of every import, but those of the standard library."""
    return {name.split(".")[0] for name in modules(source)} - set(sys.stdlib_module_names)


def files(part: str) -> dict[str, str]:
    """Path → source of a part's files."""
    path = ROOT / part
    found = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in found}


@pytest.mark.parametrize("part", ALLOWED)
def test_a_part_imports_only_what_it_is_made_of(part: str) -> None:
    strangers = {
        file: packages(source) - ALLOWED[part] - ISLANDS.get(file, set()) for file, source in files(part).items()
    }
    assert {file: names for file, names in strangers.items() if names} == {}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_a_part_does_not_reach_into_another(part: str) -> None:
    reached = {file: packages(source) & FORBIDDEN[part] for file, source in files(part).items()}
    assert {file: names for file, names in reached.items() if names} == {}


def test_of_the_stacks_operate_knows_the_types_of_the_settings_the_bundle_and_the_pin_and_nothing_else() -> None:
    reached = {
        file: {name for name in modules(source) if name.split(".")[0] == "stacks"}
        for file, source in files("operate").items()
    }
    known = {"stacks.config", "stacks.config.promotion", "stacks.bundle", "stacks.release"}
    assert {file: names for file, names in reached.items() if names - known} == {}


def test_of_the_stacks_a_review_knows_the_prices_and_nothing_else() -> None:
    """What it says of a stack it reads from the template: the live code is that of one side only."""
    for file, source in files("review").items():
        reached = {name for name in modules(source) if name.split(".")[0] == "stacks"}
        allowed = (
            {"stacks.nag_pack", "stacks.config", "stacks"} if file == "review/synthesise.py" else {"stacks.prices"}
        )
        assert reached <= allowed, file


def test_training_and_serving_do_not_load_an_island() -> None:
    for file, source in files("model_code").items():
        assert "amplify_lm.hf" not in modules(source), file


def test_the_pipeline_definition_needs_no_cdk() -> None:
    for part in (
        "bundle.py",
        "pipeline_definition.py",
        "pipeline_steps.py",
        "config",
        "instance_types.py",
        "release.py",
        "vpc_config.py",
    ):
        assert {name for source in files(f"stacks/{part}").values() for name in packages(source)} <= {"stacks"}


def test_an_import_inside_a_function_is_seen() -> None:
    source = "import os\ndef f():\n    from torch.nn import Linear\n    import stacks.config as c\n"
    assert packages(source) == {"torch", "stacks"}
    assert modules(source) == {"os", "torch.nn", "stacks.config"}
