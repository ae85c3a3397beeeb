"""A template as a reviewer wants to read it: YAML, references as ${…}, the pipeline as data, no content hashes."""

import json
import re
from typing import Any

import yaml

BOILERPLATE = ("Parameters", "Rules")  # the CDK's check of the bootstrap version, the same in every stack
SHA256 = re.compile(r"\b[0-9a-f]{64}\b")


def readable(template: dict[str, Any]) -> str:
    """The template's text for a snapshot: what a change means, and nothing that changes without meaning."""
    kept = {key: value for key, value in template.items() if key not in BOILERPLATE}
    return SHA256.sub(
        "<sha256>", yaml.dump(plain(kept), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    )


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they were written, such as a build's commands."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case {"Fn::ImportValue": name}:
            return f"${{import {name}}}"
        case {"Fn::Join": [separator, parts]}:
            return separator.join(plain(part) for part in parts)
        case {"PipelineDefinitionBody": body}:
            return {"PipelineDefinitionBody": json.loads(plain(body))}
        case {"DashboardBody": body}:
            return {key: plain(item) for key, item in value.items()} | {"DashboardBody": json.loads(plain(body))}
    return {key: plain(item) for key, item in value.items()}
