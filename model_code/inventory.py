"""What an image is made of: every Python package and every package of its system, as a CycloneDX document on stdout.

Run once in each image, where it is built: `python inventory.py <digest of the image>`. Nothing but the standard library
and the system's own package manager, so that no scanner of a third party is trusted with the build.

Format: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/; package URLs: https://github.com/package-url/purl-spec.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any
from urllib.parse import quote

# name, version, architecture of each installed package; by the kind of its package URL
PACKAGE_MANAGERS = {
    "rpm": ["rpm", "--query", "--all", "--queryformat", r"%{NAME}\t%{VERSION}-%{RELEASE}\t%{ARCH}\n"],
    "deb": ["dpkg-query", "--show", "--showformat", r"${Package}\t${Version}\t${Architecture}\n"],
}


def document(digest: str) -> dict[str, Any]:
    """The document for the image with this digest: this interpreter's packages, and this system's."""
    components = [*python_packages(), *system_packages()]
    unique = {component["bom-ref"]: component for component in components}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {"type": "container", "name": "amplify", "version": digest, "bom-ref": f"amplify@{digest}"}
        },
        "components": [unique[ref] for ref in sorted(unique)],
    }


def python_packages() -> Iterator[dict[str, Any]]:
    """Of this interpreter, torch and what came with the base image included; and the interpreter itself."""
    yield component("generic", "", "python", platform.python_version())
    for found in metadata.distributions():
        name = found.metadata["Name"]
        if name:  # a folder that a broken installation left behind has none
            yield component("pypi", "", re.sub(r"[-_.]+", "-", name).lower(), found.version)


def system_packages() -> Iterator[dict[str, Any]]:
    """By whichever package manager the system has."""
    vendor = platform.freedesktop_os_release().get("ID", "linux") if sys.platform == "linux" else sys.platform
    for kind, command in PACKAGE_MANAGERS.items():
        if shutil.which(command[0]) is None:
            continue
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            name, version, architecture = line.split("\t")
            yield component(kind, vendor, name, version, architecture.replace("(none)", ""))  # rpm's own keys


def component(kind: str, vendor: str, name: str, version: str, architecture: str = "") -> dict[str, Any]:
    """One package, with its package URL."""
    path = "/".join(quote(part, safe="") for part in (vendor, name) if part)
    url = f"pkg:{kind}/{path}@{quote(version, safe='')}" + (f"?arch={architecture}" if architecture else "")
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("inventory.py takes one argument, the digest of the image")
    json.dump(document(sys.argv[1]), sys.stdout, indent=1)
