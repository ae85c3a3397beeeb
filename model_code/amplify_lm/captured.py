"""Requests that SageMaker's data capture has kept, read back: JSON Lines in, proteins out.

A line is `{"captureData": {"endpointInput": {"observedContentType", "mode", "data", "encoding"}, …}, …}`, the body as
text (encoding JSON or CSV) or in Base64. https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html

What cannot be read is counted by its reason and never ends the reading: requests are other people's writing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from . import bodies
from .request_errors import RequestError
from .tasks import read_protein
from .tokenizer import MASK, UNK, TokenIds

LONGEST = 1_000_000  # residues; longer ones than the model takes are refused by the server, and are counted here
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """One protein that somebody asked about."""

    ids: TokenIds
    """[L + 2]"""
    num_unknown: int

    @property
    def length(self) -> int:
        """Residues."""
        return len(self.ids) - 2

    @property
    def is_whole(self) -> bool:
        """Whether the model could read every residue: none masked, none unknown."""
        return not bool(np.isin(self.ids, (MASK, UNK)).any())


@dataclass(slots=True)
class Census:
    """What the captured records hold. `distinct` is each protein once, however often it was asked about."""

    records: int = 0
    requests: int = 0
    proteins: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    broken_examples: list[str] = field(default_factory=list)
    """Where the first few broken records stand and why: without a letter of what was asked."""
    distinct: dict[bytes, Seen] = field(default_factory=dict)

    def add(self, line: bytes, where: str, most_distinct: int) -> None:
        """Count one line of a capture file."""
        if not line.strip():
            return
        self.records += 1
        try:
            body, content_type = read_record(line)
            request = bodies.read_request(body, content_type)
            proteins = [
                read_protein(one.text, one.where, masks=request.task.masks, max_residues=LONGEST)
                for one in request.inputs
            ]
        except RequestError as error:
            self._refuse(error.code, where)
            return
        except BrokenRecordError as error:
            self._refuse(str(error), where)
            return
        self.requests += 1
        self.proteins += len(proteins)
        for protein in proteins:
            key = hashlib.blake2b(protein.sequence.encode(), digest_size=16).digest()
            if key in self.distinct or len(self.distinct) < most_distinct:
                self.distinct[key] = Seen(protein.ids, protein.num_unknown)

    def _refuse(self, reason: str, where: str) -> None:
        self.broken[reason] += 1
        if len(self.broken_examples) < EXAMPLES:
            self.broken_examples.append(f"{where}: {reason}")


class BrokenRecordError(ValueError):
    """A line that is not what data capture writes; the message is a short key to count by."""


def read_record(line: bytes) -> tuple[bytes, str | None]:
    """The request's body and content type of one captured line. Raises BrokenRecordError."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise BrokenRecordError("not_json") from None
    captured = record.get("captureData") if isinstance(record, dict) else None
    if not isinstance(captured, dict):
        raise BrokenRecordError("no_capture_data")
    given = captured.get("endpointInput")
    if not isinstance(given, dict) or not isinstance(given.get("data"), str):
        raise BrokenRecordError("no_input")
    content_type = given.get("observedContentType")
    if content_type is not None and not isinstance(content_type, str):
        raise BrokenRecordError("no_content_type")
    if given.get("encoding") == "BASE64":
        try:
            return base64.b64decode(given["data"], validate=True), content_type
        except (binascii.Error, ValueError):
            raise BrokenRecordError("not_base64") from None
    if given.get("encoding") not in ("JSON", "CSV", "NONE", None):
        raise BrokenRecordError("unknown_encoding")
    return given["data"].encode("utf-8", "surrogatepass"), content_type
