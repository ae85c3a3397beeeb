"""The release pin `releases/<env>.json`: which approved model an environment serves. `amplify approve` writes it.

`releases/<env>.shadow.json` pins a second one, which a shadow variant runs (`amplify approve --shadow`).

Read strictly, all faults at once: this file decides what answers in production, and a hand may have edited it.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from stacks.config import Environment, RealTime, SettingsError
from stacks.config.endpoint.modes import refusal

SCHEMA = 1
SHADOW = ".shadow"


@dataclass(frozen=True, kw_only=True)
class Release:
    """The part of a pin that the endpoint stack acts on; the rest is evidence for the reader of the diff."""

    model_package_arn: str
    """The package, in the environment's own registry."""

    artifact_key: str
    """Key of its model.tar.gz in the environment's artifact bucket."""

    image_digest: str
    """sha256:… of its image in the environment's repository."""


def read_releases(folder: Path, environments: dict[str, Environment]) -> dict[str, Release]:
    """Every pin of the folder, by the file's name: `<env>`, or `<env>.shadow`.

    Raises SettingsError for a broken pin, one of no environment, and a shadow of nothing.
    """
    if not folder.is_dir():
        raise SettingsError(
            f"there is no folder {folder}: give the folder of the release pins (CDK context `releases`)"
        )
    found: dict[str, Release] = {}
    for path in sorted(folder.glob("*.json")):
        name = path.stem.removesuffix(SHADOW)
        if name not in environments:
            known = ", ".join(environments)
            raise SettingsError(
                f"{path} names no environment: it would be deployed nowhere; the environments are {known}"
            )
        found[path.stem] = _read(path, environments[name])
    for stem in found:
        name = stem.removesuffix(SHADOW)
        if stem != name and (fault := _fault_of_a_shadow(environments[name], name in found)):
            raise SettingsError(f"{folder / stem}.json: {fault}")
    return found


def _fault_of_a_shadow(environment: Environment, has_release: bool) -> str | None:
    endpoint = environment.endpoint
    if not isinstance(endpoint, RealTime):
        return f"environment {environment.name} cannot have a shadow: {refusal(endpoint.mode, 'shadow')}"
    if endpoint.shadow is None:
        return f"environment {environment.name} has no shadow: give endpoint.shadow, or take the file away"
    return None if has_release else f"there is no {environment.name}.json whose requests it could get"


def _read(path: Path, environment: Environment) -> Release:
    try:
        pin = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not JSON ({error}): write it anew with `amplify approve`") from None
    if not isinstance(pin, dict):
        raise SettingsError(
            f"{path} holds a {type(pin).__name__}: a pin is a JSON object; write it with `amplify approve`"
        )
    if faults := [*_faults(pin, environment)]:
        raise SettingsError(f"{path}: " + "; ".join(faults))
    return Release(
        model_package_arn=pin["model_package_arn"],
        artifact_key=pin["artifact"]["s3_uri"].split("/", 3)[3],
        image_digest=pin["image_digest"],
    )


def _faults(pin: dict[str, Any], environment: Environment) -> Iterable[str]:
    package = (
        f"arn:aws[a-z-]*:sagemaker:{environment.region}:{environment.account}:"
        f"model-package/{environment.resource_name}/[1-9][0-9]*"
    )
    a_package = f"a package of group {environment.resource_name} in account {environment.account}, {environment.region}"
    version = str(pin.get("model_package_arn")).rsplit("/", 1)[-1]
    digest, hexadecimal = "sha256:[0-9a-f]{64}", "[0-9a-f]{64}"
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "schema": (lambda value: value == SCHEMA and not isinstance(value, bool), str(SCHEMA)),
        "model_package_arn": (_matches(package), f"the ARN of {a_package}"),
        "model_package_version": (lambda value: _is_count(value) and str(value) == version, "the ARN's last number"),
        "image_digest": (_matches(digest), "sha256:<64 hexadecimal digits>"),
        "artifact": (lambda value: isinstance(value, dict), "an object with s3_uri, version_id and sha256"),
        "recipe": (_is_text, "the name of a recipe"),
        "evaluation": (lambda value: isinstance(value, dict) and bool(value), "the object of evaluation.json"),
        "code_bundle": (_is_text, "the SHA-256 or the URI of the code bundle"),
        "approved_by": (_is_text, "a person"),
        "approved_at": (_is_time, "a time such as 2026-11-24T08:00:00+00:00"),
    }
    yield from _broken(pin, rules, "")
    if isinstance(pin.get("artifact"), dict):
        artifact_rules: dict[str, tuple[Callable[[Any], bool], str]] = {
            "s3_uri": (_matches(r"s3://[^/]+/.+\.tar\.gz"), "s3://<artifact bucket>/…/model.tar.gz"),
            "version_id": (_is_text, "the version of the S3 object"),
            "sha256": (_matches(hexadecimal), "64 hexadecimal digits"),
        }
        yield from _broken(pin["artifact"], artifact_rules, "artifact.")


def _broken(given: dict[str, Any], rules: dict[str, tuple[Callable[[Any], bool], str]], where: str) -> Iterable[str]:
    for field, (holds, wanted) in rules.items():
        if field not in given:
            yield f"{where}{field} is missing: give {wanted}"
        elif not holds(given[field]):
            yield f"{where}{field} is {json.dumps(given[field])}: give {wanted}"
    for field in sorted(given.keys() - rules.keys()):
        yield f"{where}{field} is not a field of a pin: the fields are {', '.join(rules)}"


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False
