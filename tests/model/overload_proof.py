"""`make overload DURATION=60`: four times as many requests as a started server can answer, for so many seconds.

First the server is asked by callers who wait for their answers: that is what it can do. Then requests come at four
times that rate, whether answers come or not, as callers of an endpoint do. Proteins have the lengths of a proteome. The
model has the demo's shape (`--artefact` takes another). What is admitted has to be answered right and in bounded time,
what is not has to be told so at once (429) with a time to wait, and nobody may be left without an answer. The last line
counts.
"""

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.model.server_process import Server, serving
from tests.model.serving_model import put_model

TIMES = 4
WAITING_CALLERS = 16
MEASURED_S = 5.0
SAGEMAKER_S = 60.0  # then InvokeEndpoint gives up
LETTERS = "ARNDCQEGHILKMFPSTWYV"


@dataclass
class Tally:
    """What became of the requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    accepted_s: list[float] = field(default_factory=list)
    rejected_s: list[float] = field(default_factory=list)
    without_retry_after: int = 0

    @property
    def offered(self) -> int:
        return self.statuses.total()

    @property
    def lost(self) -> int:
        """Neither answered nor told to wait."""
        return sum(count for status, count in self.statuses.items() if status not in ("200", "429"))


def protein(chance: random.Random) -> str:
    """Half of a bacterium's proteins are longer than 280 residues; one in a hundred than 1,000."""
    length = min(2046, max(30, round(chance.lognormvariate(math.log(280), 0.55))))
    return "".join(chance.choices(LETTERS, k=length))


async def ask(server: Server, sequence: str, tally: Tally) -> None:
    """One request on a line of its own, in plain asyncio: a client that does much itself would measure itself."""
    body = json.dumps({"task": "embed", "inputs": [sequence]}).encode()
    head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
    began = time.monotonic()
    try:
        async with asyncio.timeout(SAGEMAKER_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.read()
            writer.close()
    except (OSError, TimeoutError) as error:
        tally.statuses[type(error).__name__] += 1
        return
    seconds = time.monotonic() - began
    status = answer[9:12].decode() or "no answer"
    tally.statuses[status] += 1
    if status == "200":
        tally.accepted_s.append(seconds)
    elif status == "429":
        tally.rejected_s.append(seconds)
        tally.without_retry_after += b"\r\nretry-after: " not in answer.lower()


async def capacity(server: Server, chance: random.Random) -> float:
    """Requests a second that callers get answered who wait for their answers."""
    tally, end = Tally(), time.monotonic() + MEASURED_S

    async def caller() -> None:
        while time.monotonic() < end:
            await ask(server, protein(chance), tally)

    await asyncio.gather(*(caller() for _ in range(WAITING_CALLERS)))
    return len(tally.accepted_s) / MEASURED_S


async def overload(server: Server, duration: float, seed: int) -> tuple[Tally, float]:
    """What became of four times the capacity, and the capacity."""
    chance, tally = random.Random(seed), Tally()
    rate = await capacity(server, chance)
    asked, begin = [], time.monotonic()
    while (now := time.monotonic() - begin) < duration:
        due = math.floor(now * TIMES * rate) - len(asked)
        asked += [asyncio.create_task(ask(server, protein(chance), tally)) for _ in range(due)]
        await asyncio.sleep(0.02)
    await asyncio.gather(*asked)
    return tally, rate


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; NaN of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def run(base: Path, duration: float, seed: int) -> tuple[Tally, float, Server]:
    with serving(base) as server:
        tally, rate = asyncio.run(overload(server.ready(), duration, seed))
        after = server.ask({"sequence": "MKT"}).status_code
        assert after == 200, f"after the overload a request is answered with {after}"
        assert server.metric("queue_tokens") == 0, "the queue keeps what nobody waits for"
        print(f"capacity {rate:.1f} requests/s; peak memory {server.peak_memory_mb() or math.nan:.0f} MB")
        return tally, rate, server


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where nothing was lost, something was rejected, and each rejection said when to come again."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--duration", type=float, default=60)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--artefact", type=Path)
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="amplify-overload-") as folder:
        put_model(Path(folder), given.artefact)
        tally, _, _ = run(Path(folder), given.duration, given.seed)
    accepted, rejected = tally.accepted_s, tally.rejected_s
    print(f"statuses {dict(sorted(tally.statuses.items()))}; a rejection took {percentile(rejected, 0.5):.2f} s (p50)")
    print(
        f"offered {tally.offered} accepted {len(accepted)} rejected {len(rejected)} lost {tally.lost} "
        f"p50 {percentile(accepted, 0.5):.2f} s p99 {percentile(accepted, 0.99):.2f} s"
    )
    return int(tally.lost > 0 or not rejected or tally.without_retry_after > 0)


if __name__ == "__main__":
    sys.exit(main())
