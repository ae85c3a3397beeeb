"""`make fuzz BODIES=10000 SEED=1`: a started server, asked by eight callers who mean no good.

The model has the demo's shape (`--artefact` takes another, as a folder or a model.tar.gz). Bodies are made from good
ones by cutting, doubling, nesting, swapping bytes and numbers; some are compressed, endless, slow, cut off, or a
protein of 100,000 residues; some are no HTTP. After every hundredth the next good request has to be answered as the
first was. The last line counts answers by status, of which none may be 5xx, and the most memory that the server held.
"""

import argparse
import gzip
import json
import random
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.model.server_process import Server, serving
from tests.model.serving_model import PROTEIN, put_model

CALLERS = 8
GOOD = {"task": "embed", "inputs": [PROTEIN]}
TYPES = (
    *("application/json", "application/jsonlines", "text/x-fasta", "text/csv", "text/x-fasta; task=perplexity"),
    *("application/jsonlines; task=score_variants; scan=true; stream=true", "application/jsonlines; stream=true"),
)
SEEDS: tuple[tuple[str, bytes], ...] = (
    (TYPES[0], json.dumps(GOOD).encode()),
    (TYPES[0], json.dumps({"sequence": PROTEIN}).encode()),
    (TYPES[0], json.dumps({"task": "perplexity", "inputs": [PROTEIN], "parameters": {"exact": True}}).encode()),
    (TYPES[0], json.dumps({"task": "fill_mask", "inputs": ["MK_A"], "parameters": {"top_k": 3}}).encode()),
    (TYPES[0], json.dumps({"task": "score_variants", "inputs": [{"sequence": PROTEIN, "variants": ["K2A"]}]}).encode()),
    (TYPES[0], json.dumps({**GOOD, "partial": True}).encode()),
    (TYPES[1], b'{"sequence": "MKT"}\n"MKV"\n'),
    (TYPES[2], b">a\nMKT\n>b\nMKV\n"),
    (TYPES[3], b"id,sequence\na,MKT\nb,MKV\n"),
    (TYPES[4], b">a\nMKT\n"),
    (TYPES[0], json.dumps({"task": "contacts", "inputs": [PROTEIN], "parameters": {"layer": [1, -1]}}).encode()),
    (TYPES[0], json.dumps({"task": "embed", "inputs": ["MK"], "parameters": {"layer": "all"}}).encode()),
    (TYPES[0], json.dumps({"task": "score_variants", "inputs": ["MKA"], "parameters": {"scan": True}}).encode()),
    (TYPES[0], json.dumps({**GOOD, "stream": True}).encode()),
    (TYPES[5], b'{"sequence": "MKT"}\n"MKV"\n'),
    (TYPES[6], b'"MKT"\n\n{"id": "b", "sequence": "MK4"}\n'),
)
NUMBERS = (b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"-0", b"1e-400", b"true", b"null", b"{}", b"[]", b'"\\ud800"')


def nested(chance: random.Random, body: bytes) -> bytes:
    depth = chance.choice((50, 900, 1000, 5000, 100_000))
    opening, closing = chance.choice(((b"[", b"]"), (b'{"task":', b"}")))
    return opening * depth + body + closing * chance.choice((0, depth))


def with_other_bytes(chance: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def with_other_values(chance: random.Random, body: bytes) -> bytes:
    parts = body.split(chance.choice((b":", b",", b"\n")))
    parts[chance.randrange(len(parts))] = chance.choice(NUMBERS)
    return chance.choice((b":", b",", b"\n")).join(parts)


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    lambda chance, body: body[: chance.randrange(len(body))],
    lambda chance, body: body[chance.randrange(len(body)) :] + body,
    lambda chance, body: chance.randbytes(chance.choice((1, 20, 3000))),
    lambda chance, body: body.replace(b"MK", b"M" * chance.choice((2046, 2047, 100_000))),
    lambda chance, body: body.replace(b"M", chance.choice((b"4", b"*", b"\xff", b"|", b"\x00", "é".encode()))),
    lambda chance, body: json.dumps({**GOOD, "inputs": ["M"] * chance.choice((0, 10_000, 10_001))}).encode(),
    lambda chance, body: b"\xef\xbb\xbf" + body,
    nested,
    with_other_bytes,
    with_other_values,
)


def http_request(chance: random.Random) -> tuple[bytes, dict[str, str]]:
    """A body and its headers."""
    content_type, body = chance.choice(SEEDS)
    for _ in range(chance.randint(0, 2)):
        body = chance.choice(MUTATIONS)(chance, body) or b" "
    headers = {
        "content-type": content_type if chance.random() < 0.8 else chance.choice((*TYPES, "image/png", "a/b;;=", ""))
    }
    if chance.random() < 0.1:
        headers["accept"] = chance.choice(("text/html", "application/x-npz", "*/*;q=x", "application/json;q=0"))
    if chance.random() < 0.05:
        headers["content-encoding"] = "gzip"
        body = gzip.compress(b"[" * 10_000_000, 1)  # 10 MB in 10 KB
    return body, headers


def hang_up(server: Server, chance: random.Random) -> None:
    """Something that is no whole request: cut off, slow, endless or no HTTP at all. Nobody waits for an answer."""
    head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    sent = chance.choice(
        (
            head + b"content-length: 100\r\n\r\n{",
            head + b"content-length: 99999999999\r\n\r\n",
            head + b"content-length: -5\r\n\r\n",
            head + b"transfer-encoding: chunked\r\n\r\nffffffff\r\n" + b" " * 1000,
            head + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
            head.replace(b"json", b"jsonlines; stream=true") + b'transfer-encoding: chunked\r\n\r\n6\r\n"MKT"\n\r\n',
            head.replace(b"json", b"jsonlines; stream=true") + b"transfer-encoding: chunked\r\n\r\n2\r\n\n\n\r\n",
            b"\x16\x03\x01" + chance.randbytes(200),
            b"GET /" + b"a" * 100_000,
            chance.randbytes(500),
        )
    )
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as line:
            line.sendall(sent)
            line.settimeout(0.05)
            line.recv(100)
    except OSError:
        pass  # the server may close the line at any moment


def ask(server: Server, client: httpx.Client, number: int, seed: int) -> str:
    """One request; returns its status, or how it ended without one."""
    chance = random.Random(seed * 1_000_003 + number)
    if chance.random() < 0.1:
        hang_up(server, chance)
        return "hung up"
    body, headers = http_request(chance)
    try:
        return str(client.post("/invocations", content=body, headers=headers).status_code)
    except httpx.LocalProtocolError:
        return "not sent"  # httpx itself refuses such a header
    except httpx.TransportError:
        return "line closed"  # a body that is too large may be cut off while it is being sent


def embedding(server: Server) -> Any:
    answer = server.ask(GOOD)
    return answer.json()["outputs"][0]["embedding"] if answer.status_code == 200 else answer.status_code


def alike(first: Any, again: Any) -> bool:
    return isinstance(again, list) and max(abs(a - b) for a, b in zip(first, again, strict=True)) <= 1e-5


def run(base: Path, bodies: int, seed: int, **environment: str) -> tuple[Counter[str], int, float | None]:
    """Answers by status, good requests that were not answered well, and the most memory in megabytes."""
    with serving(base, **environment) as server, httpx.Client(base_url=server.client.base_url, timeout=120) as client:
        first, unwell = embedding(server.ready()), 0
        found: Counter[str] = Counter()
        with ThreadPoolExecutor(CALLERS) as callers:
            for begin in range(0, bodies, 100):
                numbers = range(begin, min(begin + 100, bodies))
                found.update(callers.map(lambda number: ask(server, client, number, seed), numbers))
                again = embedding(server)
                unwell += (
                    not isinstance(again, list) or max(abs(a - b) for a, b in zip(first, again, strict=True)) > 1e-5
                )
        assert server.process.poll() is None, "".join(server.lines[-20:])
        return found, unwell, server.peak_memory_mb()


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where no answer was 5xx and every good request was answered as the first."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bodies", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--artefact", type=Path)
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="amplify-fuzz-") as folder:
        put_model(Path(folder), given.artefact)
        found, unwell, peak = run(Path(folder), given.bodies, given.seed)
    failures = sum(count for status, count in found.items() if status.startswith("5"))
    statuses = " ".join(f"{status} {count}" for status, count in sorted(found.items()) if not status.startswith("5"))
    memory = "unknown" if peak is None else f"{peak:.0f} MB"
    print(f"bodies {found.total()} {statuses} 5xx {failures} unwell {unwell} peak {memory}")
    return int(failures > 0 or unwell > 0)


if __name__ == "__main__":
    sys.exit(main())
