"""What a changed file can do, by where it lies."""

import pytest

from review.paths import is_inert, is_without_a_place, may_touch_a_template, takes_the_place_of


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("GNUmakefile", "the Makefile"),
        ("makefile", "the Makefile"),
        ("json.py", "the library json"),
        ("aws_cdk/__init__.py", "the library aws_cdk"),
        ("yaml.py", "the library yaml"),
        ("stacks.py", "the project's stacks"),
        ("environments/__init__.py", "the project's environments"),
        ("app.so", "the project's app"),
        ("sitecustomize.py", "Python's own beginning"),
    ],
)
def test_a_file_that_is_read_before_another_is_known(path: str, what: str) -> None:
    assert takes_the_place_of(path) == what


@pytest.mark.parametrize(
    "path", ["app.py", "stacks/json.py", "tests/json.py", "model_code/train.py", "json.md", "tools/run.py", "LICENSE"]
)
def test_what_lies_below_a_known_folder_takes_no_place(path: str) -> None:
    assert takes_the_place_of(path) is None


@pytest.mark.parametrize(
    "path", ["tools/run.py", "cdk.context.json", ".gitattributes", ".cfnlintrc", "json.py", "a.txt"]
)
def test_whatever_nobody_has_placed_is_synthesised_with_and_said(path: str) -> None:
    assert is_without_a_place(path)
    assert may_touch_a_template(path)
    assert not is_inert(path)


@pytest.mark.parametrize("path", ["docs/a.md", "tests/model/test_a.py", "README.md", "bench/a.py", "NOTES.md"])
def test_documents_and_tests_touch_nothing(path: str) -> None:
    assert not may_touch_a_template(path)
    assert not is_without_a_place(path)


@pytest.mark.parametrize("path", ["tests/stacks/test_nag.py", "stacks/prices.json", "model_code/requirements.txt"])
def test_what_has_two_places_counts_in_both(path: str) -> None:
    assert may_touch_a_template(path)


def test_owners_below_documents_are_not_inert() -> None:
    assert is_inert("docs/review.md")
    assert not is_inert("docs/CODEOWNERS")
