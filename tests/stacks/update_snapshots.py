"""Writes the snapshots of every template anew, and the table of docs/endpoint-modes.md: `make snapshots`.

The diff is what a reviewer reads.
"""

from pathlib import Path

from stacks.config.endpoint.modes import markdown
from tests.stacks.mode_examples import with_snapshots
from tests.stacks.readable import readable
from tests.stacks.synthesis import ROOT

SNAPSHOTS = ROOT / "tests" / "snapshots"
MODES_PAGE = ROOT / "docs" / "endpoint-modes.md"
TABLE_BEGINS, TABLE_ENDS = (
    "<!-- the table of stacks/config/endpoint/modes.py: `make snapshots` writes it -->\n",
    "<!-- its end -->\n",
)


def snapshot(stack: str) -> Path:
    """`dev/storage` → tests/snapshots/dev/storage.yaml"""
    return SNAPSHOTS / f"{stack}.yaml"


def modes_page(text: str) -> str:
    """The page about the modes, its table anew."""
    before, rest = text.split(TABLE_BEGINS)
    return before + TABLE_BEGINS + markdown() + TABLE_ENDS + rest.split(TABLE_ENDS)[1]


def main() -> None:
    """Writes each, removes those of stacks that are gone."""
    wanted = {snapshot(stack): readable(template) for stack, template in with_snapshots().items()}
    for gone in set(SNAPSHOTS.glob("*/*.yaml")) - set(wanted):
        gone.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    MODES_PAGE.write_text(modes_page(MODES_PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{len(wanted)} snapshots in {SNAPSHOTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
