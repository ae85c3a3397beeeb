"""How fast proteins become token ids: a table for people, one JSON object on the last line for machines.

    make bench PARTS=tokenizer

One core, random proteins of the length given, as text and as bytes; the best of several rounds, since a shared machine
only ever slows a run down. Wanted: at least 100 MB/s (a residue is a byte) at the lengths of real proteins.
"""

import json
import platform
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from amplify_lm.tokenizer import count_unknown, decode, encode

MEGABYTES = 4
ROUNDS = 7
LENGTHS = (100, 300, 1000, 10_000, 1_000_000)  # UniRef100's median is near 300


def proteins(length: int) -> list[str]:
    residues = np.frombuffer(b"LAGVSERTIDPKQNFYMHWCX", dtype=np.uint8)
    drawn = np.random.default_rng(length).choice(residues, MEGABYTES * 10**6)
    text = drawn.tobytes().decode()
    return [text[start : start + length] for start in range(0, len(text), length)]


def megabytes_per_second(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return MEGABYTES / best


def each(work: Callable[[Any], object], items: list[Any]) -> None:
    for item in items:
        work(item)


def main() -> None:
    rates: dict[int, dict[str, float]] = {}
    for length in LENGTHS:
        texts = proteins(length)
        jobs: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
            "encode str": (encode, texts),
            "encode bytes": (encode, [text.encode() for text in texts]),
            "count unknown": (count_unknown, texts),
            "decode": (decode, [encode(text) for text in texts]),
        }
        if not rates:
            print(f"{'residues':>10}" + "".join(f"{name:>15}" for name in jobs) + "   MB/s, one core")
        rates[length] = {name: round(megabytes_per_second(partial(each, *job)), 1) for name, job in jobs.items()}
        print(f"{length:>10}" + "".join(f"{rate:>15.0f}" for rate in rates[length].values()))
    print(json.dumps({"bench": "tokenizer", "unit": "MB/s", "machine": platform.machine(), "rates": rates}))


if __name__ == "__main__":
    main()
