"""All templates of the app, made once for all tests of a run: starting jsii and Node costs more than the tests.

The releases are those of tests/stacks/releases, so that each environment has an endpoint stack to look at.
CloudFormation's own validation is off (tests/conftest.py) for speed; test_synth.py keeps it on once.
"""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RELEASES = Path(__file__).parent / "releases"

Template = dict[str, Any]


def new_app(outdir: Path) -> Any:
    """An App as the CDK command line makes it: the feature flags of cdk.json, no version resource."""
    import aws_cdk as cdk

    context = json.loads((ROOT / "cdk.json").read_text())["context"] | {"releases": str(RELEASES)}
    return cdk.App(outdir=str(outdir), context=context, analytics_reporting=False)


@functools.cache
def assembly() -> Path:
    """The cloud assembly of every environment, synthesised once per process."""
    from app import add_environments

    folder = Path(tempfile.mkdtemp(prefix="amplify-assembly-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    app = new_app(folder)
    add_environments(app)
    app.synth()
    return folder


def templates_in(folder: Path) -> dict[str, Template]:
    """`dev/storage` → its template, read from a cloud assembly."""
    found = {}
    for manifest in sorted(folder.glob("assembly-*/manifest.json")):
        for artifact in json.loads(manifest.read_text())["artifacts"].values():
            if artifact["type"] == "aws:cloudformation:stack":
                template = manifest.parent / artifact["properties"]["templateFile"]
                found[artifact["displayName"]] = json.loads(template.read_text())
    return found


@functools.cache
def templates() -> dict[str, Template]:
    """Every stack's template, by its id. Shared: a test that changes one copies it first."""
    return templates_in(assembly())


def manifests() -> dict[str, dict[str, Any]]:
    """Stack id → its entry in the assembly's manifest (name, account, termination protection)."""
    entries = {}
    for manifest in assembly().glob("assembly-*/manifest.json"):
        for artifact in json.loads(manifest.read_text())["artifacts"].values():
            if artifact["type"] == "aws:cloudformation:stack":
                entries[artifact["displayName"]] = artifact
    return entries


def resources(template: Template, type_: str) -> dict[str, dict[str, Any]]:
    """Logical id → resource, of one type."""
    return {id_: resource for id_, resource in template["Resources"].items() if resource["Type"] == type_}


def only(template: Template, type_: str) -> dict[str, Any]:
    """The properties of the one resource of a type."""
    [resource] = resources(template, type_).values()
    return resource["Properties"]
