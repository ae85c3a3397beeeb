"""Text of a template, or of whoever wrote it, as text of a page."""

import re


def escaped(text: str) -> str:
    """Text of a template, or of whoever wrote it, as text: no markup, no links, nobody mentioned. `name` stays code."""
    parts = re.split(r"(`[\w.\[\]' -]+`)", text)
    return "".join(part if index % 2 else _plain(part) for index, part in enumerate(parts))


def _plain(text: str) -> str:
    text = re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", text.replace("\n", " "))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("@", "&#64;").replace("://", ":&#47;/")


def code(text: str) -> str:
    return re.sub(r"[^\w./~^@{}:+ -]", "", text)
