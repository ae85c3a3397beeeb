"""Templates as text: references as ${…}, the same whether a thing lies in this stack or is imported from another."""

import json
import re
from typing import Any

_EXPORT = re.compile(
    r"[\w-]+:ExportsOutput(?:FnGetAtt(?P<of>\w*?[0-9A-F]{8}|\w+?)(?P<attribute>[A-Z]\w*?)|Ref(?P<ref>\w+?))[0-9A-F]{8}"
)


def plain(value: Any) -> Any:
    """The value with every intrinsic function that yields text written out; other ones stay as they are."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case {"Fn::GetAtt": str(name)}:
            return f"${{{name}}}"
        case {"Fn::ImportValue": name}:
            return _imported(str(plain(name)))
        case {"Fn::Join": [separator, list(parts)]}:
            return str(separator).join(text(part) for part in parts)
        case {"Fn::Sub": str(template)}:
            return template
        case {"Fn::Sub": [str(template), dict(names)]}:
            for name, given in names.items():
                template = template.replace(f"${{{name}}}", text(given))
            return template
    return {key: plain(item) for key, item in value.items()}


def text(value: Any) -> str:
    """The value as one text: a list or object as JSON."""
    written = plain(value)
    return written if isinstance(written, str) else json.dumps(written, sort_keys=True)


def _imported(name: str) -> str:
    """`amplify-dev-storage:ExportsOutputFnGetAttKey961B73FDArn5A860C43` → `${Key961B73FD.Arn}`, as at home."""
    found = _EXPORT.fullmatch(name)
    if found is None:
        return f"${{import {name}}}"
    return f"${{{found['ref']}}}" if found["ref"] else f"${{{found['of']}.{found['attribute']}}}"


def listed(value: Any) -> list[Any]:
    """What may be one or several, as several."""
    return value if isinstance(value, list) else [] if value is None else [value]


def short(id_: str) -> str:
    """A logical id, or a text with references, as people know it: without the generated end."""
    id_ = re.sub(r"\$\{(AWS::)?([\w:]+?)(?:[0-9A-F]{8})?(?:\.(\w+))?\}", _reference, id_)
    return re.sub(r"^([A-Za-z]\w*?)[0-9A-F]{8}$", r"\1", id_)


def _reference(found: re.Match[str]) -> str:
    if found[1]:  # AWS::Region and the like
        return f"<{found[2].lower()}>"
    return f"<{found[2]}>"


def quoted(value: Any) -> str:
    """A value of a setting in a sentence: short, or cut."""
    if value is None:
        return "nothing"
    written = short(text(value))
    return written if len(written) <= 90 else written[:87] + "…"


def and_so(names: list[str], most: int = 6) -> str:
    """`a, b and 3 more`"""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
