"""One commit, one set of templates: whoever synthesises, wherever, with whatever AWS settings in the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from operate.cdk import jsii_cache
from tests.stacks.synthesis import RELEASES, ROOT, templates, templates_in

HOSTILE = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "token",
    "AWS_PROFILE": "somebody-elses",
    "AWS_REGION": "eu-west-3",
    "AWS_DEFAULT_REGION": "ap-southeast-2",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "CDK_DEFAULT_ACCOUNT": "999999999999",
    "CDK_DEFAULT_REGION": "eu-west-3",
}
# What `~/.cdk.json` may say: another profile and region, and context that every template depends on.
CDK_JSON = {
    "profile": "somebody-elses",
    "context": {
        "@aws-cdk/core:bootstrapQualifier": "theirs",
        "releases": "/nowhere",
    },
}
CONTEXT = json.loads((ROOT / "cdk.json").read_text())["context"]


def synthesise(outdir: Path, *, validation: bool = False, releases: Path = RELEASES) -> str:
    """Runs app.py as the CDK command line does, in a process of its own; returns what it printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    context = CONTEXT | {"releases": str(releases), "aws:cdk:version-reporting": False}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "app.py"],
        cwd=ROOT,
        env=kept
        | {"CDK_OUTDIR": str(outdir), "CDK_CONTEXT_JSON": json.dumps(context)}
        | {"CDK_VALIDATION": str(validation).lower(), "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return f"exit {done.returncode}\n{done.stdout}{done.stderr}"


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a cloud assembly: templates, manifests, the code bundle."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_command_line_gives_the_same_bytes_whatever_aws_settings_surround_it(tmp_path: Path) -> None:
    cdk = [str(ROOT / "node_modules" / ".bin" / "cdk"), "synth", "--quiet", "--app", f"{sys.executable} app.py"]
    kept = {name: os.environ[name] for name in ("PATH", "CDK_VALIDATION") if name in os.environ}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".cdk.json").write_text(json.dumps(CDK_JSON))
    kept |= {"HOME": str(tmp_path / "home"), "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(jsii_cache(os.environ))}
    done = subprocess.run(
        [*cdk, "--output", str(tmp_path / "out"), "--context", f"releases={RELEASES}"],
        cwd=ROOT,
        env=kept | HOSTILE | {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # Not with the assembly of this process: the CDK stages an asset once a process, beside the app that came first.
    assert synthesise(tmp_path / "quiet").startswith("exit 0")
    assert files(tmp_path / "out") == files(tmp_path / "quiet")


def test_synthesis_loads_neither_the_model_nor_an_aws_client_and_looks_nothing_up(tmp_path: Path) -> None:
    printed = synthesise(tmp_path)
    loaded = {
        line.rsplit("|", 1)[1].strip().split(".")[0] for line in printed.splitlines() if line.startswith("import time")
    }
    assert "aws_cdk" in loaded
    assert not loaded & {"torch", "boto3", "botocore", "numpy", "amplify_lm"}
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert "missing" not in manifest


def test_cloudformations_own_validation_finds_nothing(tmp_path: Path) -> None:
    printed = synthesise(tmp_path, validation=True)
    assert printed.startswith("exit 0"), printed[-2000:]
    report = json.loads((tmp_path / "validation-report.json").read_text())
    found = [violation for plugin in report["pluginReports"] for violation in plugin["violations"]]
    remarks = [one for one in found if one["ruleName"] == "Annotation::amplify:nobody-hears-alarms"]
    assert len(remarks) == 2  # of staging and prod, until somebody gives an address
    assert [violation for violation in found if violation not in remarks] == []


def test_without_releases_every_environment_synthesises_without_an_endpoint(tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    releases.mkdir()
    printed = synthesise(tmp_path / "out", releases=releases)
    assert printed.startswith("exit 0"), printed[-2000:]
    # The same templates, too: a release that comes or goes must not touch the stacks that hold state.
    assert templates_in(tmp_path / "out") == {
        stack: template for stack, template in templates().items() if not stack.endswith("/endpoint")
    }


def test_a_broken_release_stops_the_synthesis_with_a_message_and_no_stack_trace(tmp_path: Path) -> None:
    (tmp_path / "prod.json").write_text("{}")
    printed = synthesise(tmp_path / "out", releases=tmp_path)
    assert printed.startswith("exit 1")
    assert f"Nothing was synthesised. {tmp_path}/prod.json: schema is missing: give 2" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("stack", ["local/storage", "prod/network", "prod/endpoint"])
def test_templates_hold_no_placeholder_of_an_unknown_account_or_zone(stack: str) -> None:
    text = json.dumps(templates()[stack])
    assert "dummy1" not in text
    assert "AWS::AccountId" not in text
