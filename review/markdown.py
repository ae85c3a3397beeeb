"""Text of a template, or of whoever wrote it, as text of a page."""

import re
import unicodedata

NOTHING = "\u200b"  # a space of no width
UNSEEN = ("Cc", "Cf")  # control characters, and those that turn the direction of what follows


def escaped(text: str) -> str:
    """Text of a template, or of whoever wrote it, as text: no markup, no links, nobody mentioned. `name` stays code."""
    parts = re.split(r"(`[\w.\[\]' -]+`)", text)
    return "".join(part if index % 2 else _plain(part) for index, part in enumerate(parts))


def _plain(text: str) -> str:
    text = "".join(one for one in text.replace("\n", " ") if unicodedata.category(one) not in UNSEEN)
    text = re.sub(r"([\\`*_\[\]|#!~])", r"\\\1", text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # GitHub looks for names, numbers and addresses in the finished page, where an entity is the sign itself again.
    text = text.replace("@", f"@{NOTHING}").replace("://", f":{NOTHING}//")
    return re.sub(r"(#)(?=\d)|(?i:(www)(?=\.))", rf"\1\2{NOTHING}", text)


def code(text: str) -> str:
    return re.sub(r"[^\w./~^@{}:+ -]", "", text)
