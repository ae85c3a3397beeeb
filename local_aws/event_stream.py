"""The encoding of InvokeEndpointWithResponseStream's answer: AWS's event stream, which botocore reads and cannot write.

    total length, header length, CRC of both ─ headers ─ payload ─ CRC of all     (numbers of four bytes, big-endian)

https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import json
import struct
import zlib

CONTENT_TYPE = "application/vnd.amazon.eventstream"
PART_BYTES = 64 * 1024
STRING = 7  # the type of a header's value


def encode(content: bytes) -> bytes:
    """`content` as PayloadPart events."""
    parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
    return b"".join(_event(part) for part in parts)


def model_stream_error(code: str, message: str) -> bytes:
    """The end of a stream that failed after it began: botocore raises it as EventStreamError."""
    headers = {":exception-type": "ModelStreamError", ":content-type": "application/json", ":message-type": "exception"}
    return _message(headers, json.dumps({"Message": message, "ErrorCode": code}).encode())


def _event(payload: bytes) -> bytes:
    headers = {
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }
    return _message(headers, payload)


def _message(named: dict[str, str], payload: bytes) -> bytes:
    headers = b"".join(_header(name, value) for name, value in named.items())
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    text = value.encode()
    return bytes([len(name)]) + name.encode() + bytes([STRING]) + struct.pack(">H", len(text)) + text
