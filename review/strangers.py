"""Values that name somebody else: accounts, buckets, registries, web addresses that base does not know; and secrets.

By what a value looks like, in whatever property of whatever resource it stands.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from review.addresses import is_anywhere
from review.assembly import ASSET, Assembly, Stack
from review.documents import documents
from review.pipelines import IS_CODE, definitions
from review.property_checks import Said, leaves
from review.remarks import Remark
from review.words import quoted, short

_ACCOUNT = re.compile(r"(?<![\w.<{])\d{12}(?![\w}])")
_OF_AWS = {"763104351884"}
"""Of its Deep Learning Containers: https://github.com/aws/deep-learning-containers/blob/master/available_images.md"""
_BUCKET = re.compile(r"(?:s3://|arn:[\w-]+:s3:::)([a-z0-9][a-z0-9.-]+[a-z0-9])(?=/|$)")
_IS_BUCKET = re.compile(r"(^|\.)(S3)?Bucket(Name)?$")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST = re.compile(r"(?:https?|wss?)://([\w.-]+)")
_IMAGE = re.compile(r"(?P<registry>[\w.-]+\.[\w.${}:-]+|[\w-]+:\d+)/[\w./-]+(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")
_PINNED = re.compile(rf"@sha256:[0-9a-f]{{64}}$|{ASSET}$|^aws/codebuild/")
"""By digest; by a tag that is a hash of the content; or AWS's own, of its build machines."""
_IS_IMAGE = re.compile(r"(^|\.)(image|ImageUri|TrainingImage)$", re.IGNORECASE)
_IS_SECRET = re.compile(r"(password|passwd|secret|api_?key|access_?key|auth_?token|private_?key|credentials?)$", re.I)
_SECRETS = re.compile(
    r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_\w{36}|\bgithub_pat_\w{22}|\bxox[abprs]-[\w-]{10,}|\bhf_[A-Za-z]{30,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|://[^/\s:@$]+:[^/\s:@$]+@"
)
"""How the keys of AWS, GitHub, Slack and Hugging Face begin, and what else is recognised by its form."""
_IS_NO_SECRET = re.compile(r"\{\{resolve:|\$\{|^arn:|^(true|false|null|\d*)$")


@dataclass(frozen=True, kw_only=True)
class Known:
    """Everything that base names, and what head makes itself."""

    accounts: frozenset[str]
    buckets: frozenset[str]
    hosts: frozenset[str]
    released: frozenset[str]
    """Of head's pins: review/promotions.py judges where a release comes from."""

    @classmethod
    def of(cls, base: Assembly, head: Assembly) -> "Known":
        """What is ours: named by base, or the account of a stack of head, which is judged by itself."""
        told = [at for stack in base.stacks.values() for values in values_of(stack).values() for at in values]
        named = "\n".join([*(value for _, value in told), json.dumps([base.settings, base.pins])])
        made = {f"cdk-hnb659fds-assets-{stack.account}-{stack.region}" for stack in head.stacks.values()}
        for stack in head.stacks.values():
            made |= {str(one.get("BucketName")) for one in stack.of_type("AWS::S3::Bucket").values()}
        return cls(
            accounts=frozenset(_ACCOUNT.findall(named)) | {stack.account for stack in head.stacks.values()} | _OF_AWS,
            buckets=frozenset(name for at in told for name in _buckets(*at)) | {*_BUCKET.findall(named)} | made,
            hosts=frozenset(_HOST.findall(named))
            | frozenset(image["registry"] for _, value in told if (image := _IMAGE.fullmatch(value))),
            released=frozenset(value for pin in head.pins.values() for _, value in leaves(pin)),
        )


def stranger_remarks(base: Stack | None, head: Stack, known: Known) -> Iterator[Remark]:
    """What values of one stack, new or other ones, name whom base does not know."""
    before = values_of(base) if base else {}
    for id_, values in values_of(head).items():
        policies = {path.split(".")[0] for path, _ in documents(head.resources[id_].get("Properties", {}))}
        told: dict[Said, None] = {}
        for path, value in sorted(values - before.get(id_, set())):
            if value not in known.released and path.split(".")[0] not in policies:
                was = [one for at, one in sorted(before.get(id_, set()) - values) if at == path]
                told |= dict.fromkeys(_about(path, value, " and ".join(was), known))
        for rule, what in told:
            yield Remark(rule=rule, environment=head.environment, stack=head.short_name, what=f"{short(id_)}: {what}")


def values_of(stack: Stack) -> dict[str, set[tuple[str, str]]]:
    """Logical id → paths with their values, those of the steps of a pipeline too."""
    steps = definitions(stack)
    return {
        id_: {*leaves(_labelled(resource.get("Properties", {}))), *leaves(_labelled(steps.get(id_, {})))}
        for id_, resource in stack.resources.items()
    }


def _labelled(value: Any) -> Any:
    """With the value of each pair of a name and a value below that name: `{"Name": "PASSWORD", "Value": …}`."""
    if isinstance(value, list):
        return [_labelled(item) for item in value]
    if not isinstance(value, dict):
        return value
    name = value.get("Name", value.get("Key"))
    members = {key: _labelled(item) for key, item in value.items()}
    if isinstance(name, str):
        return {name if key in ("Value", "DefaultValue") else key: item for key, item in members.items()}
    return members


def _buckets(path: str, value: str) -> list[str]:
    named = [value] if _IS_BUCKET.search(path) and _BUCKET_NAME.fullmatch(value) else []
    return [*named, *_BUCKET.findall(value)]


def _about(path: str, value: str, was: str, known: Known) -> Iterator[Said]:
    names: Iterable[tuple[str, Iterable[str], frozenset[str]]] = (
        ("account", _ACCOUNT.findall(value), known.accounts),
        ("bucket", _buckets(path, value), known.buckets),
    )
    for kind, found, ours in names:
        for name in sorted({*found} - ours):
            yield "exposure.stranger", f"{path} names {kind} {name}, which nothing in base names: {quoted(value)}"
    if any(is_anywhere(one) for one in re.split(r"[,\s]+", value) if "/" in one):
        yield "exposure.any_address", f"{path} takes in most of the internet: {quoted(value)}"
    if _IS_IMAGE.search(path):
        yield from _image(path, value, was, known)
    else:
        for host in sorted({*_HOST.findall(value)} - known.hosts):
            yield "exposure.elsewhere", f"{path} names {host}, which nothing in base names"
    if was and IS_CODE.search(path):
        yield "promotion.other_code", f"another image or model runs, {path}: {quoted(was)} → {quoted(value)}"
    if _SECRETS.search(value) or (_IS_SECRET.search(path) and not _IS_NO_SECRET.search(value)):
        yield "exposure.secret", f"{path} holds a secret that everybody can read who reads the template"


def _image(path: str, value: str, was: str, known: Known) -> Iterator[Said]:
    image = _IMAGE.fullmatch(value)
    if image and image["registry"] not in known.hosts and not _ACCOUNT.search(image["registry"]):
        yield "exposure.stranger", f"{path} is of registry {image['registry']}, which nothing in base names: {value}"
    if not _PINNED.search(value) and (not was or _PINNED.search(was)):
        yield "pipeline.image_not_pinned", f"an image that may be another tomorrow, {path}: {quoted(value)}"
