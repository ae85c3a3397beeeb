"""The release pin `releases/<env>.json`: which approved model an environment serves, and on what evidence.

`amplify approve` writes the first one, `amplify promote` that of the next environment, `amplify rollback` an earlier
one.

`releases/<env>.shadow.json` pins a second one, which a shadow variant runs (`amplify approve --shadow`).

Read strictly, all faults at once: this file decides what answers in production, and a hand may have edited it.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from stacks.config import Environment, RealTime, SettingsError
from stacks.config.endpoint.modes import refusal

SCHEMA = 2
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
    if faults := faults_of(pin, environment):
        raise SettingsError(f"{path}: " + "; ".join(faults))
    return Release(
        model_package_arn=pin["model_package_arn"],
        artifact_key=pin["artifact"]["s3_uri"].split("/", 3)[3],
        image_digest=pin["image_digest"],
    )


# ---- the schema ------------------------------------------------------------------------------------------------------

Rules = Mapping[str, tuple[Callable[[Any], bool], str]]  # of each field: whether a value is one, and what is wanted

DIGEST, HEXADECIMAL = "sha256:[0-9a-f]{64}", "[0-9a-f]{64}"


def faults_of(pin: Any, environment: Environment) -> list[str]:
    """Everything that is wrong with the content of a pin of this environment; nothing where it is one."""
    if not isinstance(pin, dict):
        return [f"it holds a {type(pin).__name__}: a pin is a JSON object; write it with `amplify approve`"]
    if "schema" in pin and pin["schema"] != SCHEMA:
        return [f"schema is {json.dumps(pin['schema'])}: give {SCHEMA}; write it anew with `amplify approve`"]
    return [*_faults(pin, environment)]


def _faults(pin: dict[str, Any], environment: Environment) -> Iterable[str]:
    package = (
        f"arn:aws[a-z-]*:sagemaker:{environment.region}:{environment.account}:"
        f"model-package/{environment.resource_name}/[1-9][0-9]*"
    )
    a_package = f"a package of group {environment.resource_name} in account {environment.account}, {environment.region}"
    version = str(pin.get("model_package_arn")).rsplit("/", 1)[-1]
    yield from _broken(
        pin,
        {
            "schema": (lambda value: value == SCHEMA and not isinstance(value, bool), str(SCHEMA)),
            "model_package_arn": (_matches(package), f"the ARN of {a_package}"),
            "model_package_version": (
                lambda value: _is_count(value) and str(value) == version,
                "the ARN's last number",
            ),
            "image_digest": (_matches(DIGEST), "sha256:<64 hexadecimal digits>"),
            "artifact": (_is_object, "an object with s3_uri, version_id and sha256"),
            "recipe": (_is_text, "the name of a recipe"),
            "evaluation": (_is_object, "the object of evaluation.json"),
            "predecessor": (_is_object_or_none, "the release that it was compared with, or null for the first"),
            "code_bundle": (_is_text, "the SHA-256 or the URI of the code bundle"),
            "code_commit": (_none_or(_matches("[0-9a-f]{40}")), "the commit of the code bundle, or null"),
            "data_manifest_sha256": (_none_or(_matches(HEXADECIMAL)), "64 hexadecimal digits, or null (Hub models)"),
            "approved_by": (_is_text, "a person"),
            "approved_at": (_is_time, "a time such as 2026-11-24T08:00:00+00:00"),
            "promoted_from": (_is_object_or_none, "where the release comes from, or null where it was made"),
        },
        "",
    )
    for field, rules in _MEMBERS.items():
        if isinstance(members := pin.get(field), dict):
            yield from _broken(members, rules, f"{field}.", others=field == "evaluation")
    if _sha256_of(pin.get("evaluation"), "artifact_sha256") != _sha256_of(pin.get("artifact"), "sha256"):
        yield "evaluation.artifact_sha256 is not artifact.sha256: these are not the bytes that were evaluated"


def _broken(given: dict[str, Any], rules: Rules, where: str, *, others: bool = False) -> Iterable[str]:
    """`others`: fields beside those of the rules are none of our business."""
    for field, (holds, wanted) in rules.items():
        if field not in given:
            yield f"{where}{field} is missing: give {wanted}"
        elif not holds(given[field]):
            yield f"{where}{field} is {json.dumps(given[field])}: give {wanted}"
    for field in [] if others else sorted(given.keys() - rules.keys()):
        yield f"{where}{field} is not a field of a pin: the fields are {', '.join(rules)}"


def _sha256_of(members: Any, field: str) -> Any:
    return members.get(field) if isinstance(members, dict) else None


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _none_or(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_is_object_or_none = _none_or(_is_object)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


_A_PACKAGE = (_matches(r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:model-package/.+"), "the ARN of a model package")
_AN_ARTIFACT: Rules = {
    "s3_uri": (_matches(r"s3://[^/]+/.+\.tar\.gz"), "s3://<artifact bucket>/…/model.tar.gz"),
    "version_id": (_is_text, "the version of the S3 object"),
    "sha256": (_matches(HEXADECIMAL), "64 hexadecimal digits"),
}
_MEMBERS: Mapping[str, Rules] = {
    "artifact": _AN_ARTIFACT,
    "evaluation": {
        "loss": (_is_number, "nats a residue"),
        "proteins": (_is_count, "how many held-out proteins"),
        "artifact_sha256": (_matches(HEXADECIMAL), "64 hexadecimal digits"),
    },
    "predecessor": {
        "model_package_arn": _A_PACKAGE,
        "artifact_sha256": _AN_ARTIFACT["sha256"],
        "loss": (_is_number, "nats a residue"),
        "proteins": (_is_count, "how many held-out proteins"),
    },
    "promoted_from": {
        "environment": (_is_text, "an environment"),
        "model_package_arn": _A_PACKAGE,
        "s3_uri": _AN_ARTIFACT["s3_uri"],
        "version_id": _AN_ARTIFACT["version_id"],
        "promoted_by": (_is_text, "a person or role"),
        "promoted_at": (_is_time, "a time such as 2026-11-24T08:00:00+00:00"),
    },
}
