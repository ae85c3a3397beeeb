"""How a batch transform job cuts objects into requests, and puts answers together again.

https://docs.aws.amazon.com/sagemaker/latest/dg/batch-transform.html
"""

from collections.abc import Iterator


class RecordError(ValueError):
    """An object that cannot be sent; the message says which record of it, and why."""


def payloads(content: bytes, split: str, strategy: str, most: int | None) -> Iterator[bytes]:
    """The bodies of the requests for one object. `most` bytes each; None for any number.

    `split` is None or Line, `strategy` SingleRecord or MultiRecord: as many whole ones as fit. A line's end separates
    records and belongs to none, so that a file with one at its end has no empty last record.

    >>> list(payloads(b"a\\nbb\\nccc\\n", "Line", "MultiRecord", 5))
    [b'a\\nbb', b'ccc']

    Raises RecordError where a record alone is too large.
    """
    if split == "None":
        _check(content, most, "the object")
        yield content
        return
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    batch: list[bytes] = []
    size = 0
    for number, line in enumerate(lines, 1):
        _check(line, most, f"record {number}")
        if batch and (strategy == "SingleRecord" or (most is not None and size + 1 + len(line) > most)):
            yield b"\n".join(batch)
            batch, size = [], 0
        size += len(line) + (1 if batch else 0)
        batch.append(line)
    if batch:
        yield b"\n".join(batch)


def assemble(answers: list[bytes], how: str) -> bytes:
    """The output object: the answers one after the other; with `Line`, each on lines of its own."""
    if how == "None":
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)


def _check(record: bytes, most: int | None, what: str) -> None:
    if most is not None and len(record) > most:
        raise RecordError(f"{what} has {len(record)} bytes, more than MaxPayloadInMB allows ({most})")
