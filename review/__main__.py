"""`python -m review --base <git ref>`: writes review.md and review.json, and answers with an exit code.

0  the review is written, and the gate (if one was asked for) is passed
1  there is no comparison: a side cannot be synthesised, or git, node or a file failed. Where it can, the page says why
2  wrong usage
3  the gate is not passed
"""

import argparse
import os
import sys
from pathlib import Path

from review.judge import JUDGE
from review.report import EXIT_FAILED, Request, run
from review.rules import AREAS, LEVELS
from review.trees import ReviewError

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m review", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--base", required=True, help="git ref that head is compared with, such as origin/main")
    parser.add_argument("--head", help="git ref; the working tree, committed or not, if not given")
    parser.add_argument("--out", type=Path, default=ROOT / "review-report", help="folder of review.md and review.json")
    parser.add_argument("--repository", type=Path, default=ROOT, help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, default=ROOT / ".local" / "review", help=argparse.SUPPRESS)
    parser.add_argument(
        "--gate", choices=("never", *LEVELS[1:]), default="never", help="exit with 3 from this verdict on"
    )
    parser.add_argument("--areas", default=",".join(AREAS), help="areas that the gate looks at, by comma")
    parser.add_argument(
        "--judge",
        choices=("base", "own"),
        default="base",
        help="whose review judges a change of review/ (default: base)",
    )
    given = parser.parse_args(arguments)
    areas = given.areas.split(",")
    if strangers := [name for name in areas if name not in AREAS]:
        parser.error(f"--areas holds {', '.join(strangers)}: the areas are {', '.join(AREAS)}")
    request = Request(
        repository=given.repository.resolve(),
        base=given.base,
        head=given.head,
        out=given.out.resolve(),
        cache=given.cache.resolve(),
        gate=None if given.gate == "never" else given.gate,
        areas=tuple(areas),
        judge="own" if given.judge == "own" or os.environ.get(JUDGE) == "own" else "base",
    )
    try:
        return run(request, lambda line: print(line))
    except ReviewError as error:
        print(f"There is no review: {error}", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
