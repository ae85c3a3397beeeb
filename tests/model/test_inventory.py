"""What an image is made of: a CycloneDX document of what is really installed, here of this machine."""

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "model_code" / "inventory.py"
# type:name@version, the parts of a package URL that every package here has
PACKAGE_URL = re.compile(r"pkg:(pypi|rpm|deb|generic)/([^@?]+)@([^@?]+)(\?arch=[\w.]+)?")


def inventory(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def document() -> dict:
    done = inventory("sha256:abc")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_a_cyclonedx_document_of_the_image_with_that_digest(document: dict) -> None:
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["version"] == "sha256:abc"


def test_every_python_package_is_in_it_with_the_version_that_is_installed(document: dict) -> None:
    found = {one["name"]: one["version"] for one in document["components"] if one["purl"].startswith("pkg:pypi/")}
    assert found["torch"] == metadata.version("torch")
    assert found["huggingface-hub"] == metadata.version("huggingface_hub")
    assert len(found) >= 50


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="this system has no dpkg")
def test_every_package_of_the_system_is_in_it(document: dict) -> None:
    listed = subprocess.run(["dpkg-query", "--show"], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {one["name"] for one in document["components"] if one["purl"].startswith("pkg:deb/")}
    assert {line.split("\t")[0].partition(":")[0] for line in listed} == found


def test_every_component_has_a_package_url_of_its_own(document: dict) -> None:
    urls = [one["purl"] for one in document["components"]]
    assert len(set(urls)) == len(urls)
    assert [url for url in urls if not PACKAGE_URL.fullmatch(url)] == []


def test_without_the_digest_it_says_what_it_wants() -> None:
    done = inventory()
    assert done.returncode == 1
    assert "one argument, the digest of the image" in done.stderr
