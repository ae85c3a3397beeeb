"""`make bench`: every part, or those named; their tables for people, and on the very last line one JSON object.

    PYTHONPATH=model_code:. python -m bench [part …]

A part is a file of this folder that says on its own last line, as one JSON object, what its table says.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NO_PARTS = ("__main__", "__init__", "corpus")


def parts() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_PARTS)


def run(part: str) -> dict[str, object]:
    """Print a part's table; returns what it says for machines. Raises CalledProcessError where it fails."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "model_code"), str(ROOT)])}
    # As a module: a script's own folder would come first on the path, and with it files named like those of model_code.
    command = [sys.executable, "-m", f"bench.{part}"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    *table, last = done.stdout.rstrip("\n").split("\n")
    print(f"\n== {part} ==", *table, sep="\n", flush=True)
    return json.loads(last)


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in parts()]:
        print(f"bench: no part {', '.join(unknown)}; there are {', '.join(parts())}", file=sys.stderr)
        return 2
    found = {part: run(part) for part in names or parts()}
    print(json.dumps({"bench": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
