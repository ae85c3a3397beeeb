"""What a changed file can do, by where it lies. Whatever has no place here is synthesised with, and said."""

import importlib.metadata
import sys
from collections.abc import Sequence
from functools import cache

INERT = ("docs", "tests", "bench", "LICENSE", "NOTICE", ".gitignore")
"""What nothing that is deployed, and nothing that deploys, reads or runs; as the Markdown beside them."""
JUDGED_BY = ("tests/stacks/test_nag.py",)
"""But for this: the reasons of accepted findings are there, and a new reason is read in a review too."""
PER_ENVIRONMENT = ("environments.py", "releases")
"""What one environment alone can be touched by."""
DEPLOYED = (*PER_ENVIRONMENT, "app.py", "cdk.json", "stacks", "lambda_code", "model_code")
"""What templates, assets and pins are made of: these speak for what changed there."""
COMMANDS = ("operate", "local_aws")
"""The `amplify` command, which people and workflows deploy and promote by."""
PACKAGES = ("requirements.txt", "constraints.txt")
"""What synthesises. Both sides are made with what is installed here, so a change of these shows in no template."""
WORKFLOWS = ".github/workflows"
DELIVERED_BY = (
    *(".github", "CODEOWNERS", "docs/CODEOWNERS", ".ci"),
    *("Makefile", "GNUmakefile", "makefile", "package.json", "package-lock.json", ".npmrc"),
    *("pyproject.toml", "requirements-dev.txt", "model_code/requirements.txt"),
)
"""What runs, is installed or says who is asked where things are deployed and checked, and is in no template."""
PRICES = "stacks/prices.json"
JUDGES = ("review", "stacks/__init__.py", "stacks/prices.py", PRICES)
"""What the page itself is made by."""
APP = "cdk.json"
RELEASES = "releases"
"""The key of its context that names the folder of pins."""

CUSTOMISE = ("sitecustomize", "usercustomize")

KNOWN = (*INERT, *DEPLOYED, *COMMANDS, *PACKAGES, *DELIVERED_BY, *JUDGES)


def is_among(path: str, parts: Sequence[str]) -> bool:
    return any(path == part or path.startswith(f"{part}/") for part in parts)


def may_touch_a_template(path: str) -> bool:
    """Whether a synthesis may come out otherwise for it: anything may be imported that is not known to be inert."""
    if is_among(path, (*JUDGED_BY, *DEPLOYED)):
        return True
    return not (is_among(path, (*INERT, *DELIVERED_BY, *JUDGES)) or _is_text(path))


def is_inert(path: str) -> bool:
    """Whether nothing that is deployed, and nothing that deploys or judges, reads or runs it."""
    return is_among(path, INERT) and not is_among(path, (*JUDGED_BY, *DELIVERED_BY))


def is_without_a_place(path: str) -> bool:
    """Whether nobody has said what such a file does: it may be imported in place of one of ours, or run by a tool."""
    return not (is_among(path, KNOWN) or _is_text(path))


def takes_the_place_of(path: str) -> str | None:
    """What make or Python would read in place of, if there were such a file."""
    if path in ("GNUmakefile", "makefile"):
        return "the Makefile"
    top = path.partition("/")[0]
    module = top.partition(".")[0]
    is_module = "/" in path or top.endswith((".py", ".so", ".pyc"))
    if top in KNOWN or not is_module:
        return None
    if module in {*(part.removesuffix(".py") for part in KNOWN), *CUSTOMISE}:
        return f"the project's {module}" if module not in CUSTOMISE else "Python's own beginning"
    if module in sys.stdlib_module_names or module in _installed():
        return f"the library {module}"
    return None


@cache
def _installed() -> frozenset[str]:
    return frozenset(importlib.metadata.packages_distributions())


def _is_text(path: str) -> bool:
    return "/" not in path and path.endswith(".md")
