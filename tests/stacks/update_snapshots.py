"""Writes the snapshots of every template anew: `make snapshots`. The diff is what a reviewer reads."""

from pathlib import Path

from tests.stacks.readable import readable
from tests.stacks.synthesis import ROOT, templates

SNAPSHOTS = ROOT / "tests" / "snapshots"


def snapshot(stack: str) -> Path:
    """`dev/storage` → tests/snapshots/dev/storage.yaml"""
    return SNAPSHOTS / f"{stack}.yaml"


def main() -> None:
    """Writes each, removes those of stacks that are gone."""
    wanted = {snapshot(stack): readable(template) for stack, template in templates().items()}
    for gone in set(SNAPSHOTS.glob("*/*.yaml")) - set(wanted):
        gone.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"{len(wanted)} snapshots in {SNAPSHOTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
