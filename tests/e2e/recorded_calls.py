"""What each role of the stacks asks AWS for in a strict run, call by call, under names that are the same in every run.

    python -m tests.e2e.recorded_calls      # walks the whole way, in about four minutes, and writes the table

`{"<stack>/<role>": [[action, resource, {condition key: value}], …]}`, sorted, each call once, is the table in
tests/data/iam/recorded_calls.json. Names that a run makes up are in angle brackets: `<run>`, `<job>`, `<DataBucket>`,
`<Key>` …; the account is 123456789012, the region us-east-1.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.conftest import ROOT, Trap
from tests.e2e.statements import FUNCTIONS, do_work
from tests.e2e.strict_project import StrictProject, all_pipelines_run, walked

TABLE = ROOT / "tests" / "data" / "iam" / "recorded_calls.json"
KEPT_CONDITIONS = ("s3:prefix", "iam:PassedToService", "cloudwatch:namespace", "kms:ViaService")
MADE_UP = (  # what a run makes up, and what stands for it
    (r"pipelines-[a-z0-9]{12}-(\w+?)-[0-9a-f]{10}", r"pipelines-<run>-\1-<job>"),
    (r"(runs|checkpoints|execution)/[a-z0-9]{12}\b", r"\1/<run>"),
    (r"/algo-1-\d{10}", "/algo-1-<time>"),
    (r"/i-[0-9a-f]{17}", "/i-<instance>"),
    (r"step-\d{8}", "step-<step>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<build>"),
)

Table = dict[str, list[list[Any]]]


def table(project: StrictProject) -> Table:
    """The calls of all roles so far. Raises AssertionError where one was refused: that is no record of what works."""
    roles = {f":assumed-role/{physical}/": name for name, physical in project.roles().items()}
    names = project.physical_names()
    found: dict[str, set[str]] = {name: set() for name in roles.values()}
    for call in project.calls():
        for part, name in roles.items():
            if part in call["principal"]:
                assert call["allowed"], call
                kept = {key: call["context"][key] for key in KEPT_CONDITIONS if key in call["context"]}
                row = json.dumps([call["action"], call["resource"], kept], sort_keys=True)
                found[name].add(normalised(row, names))
    return {name: [json.loads(row) for row in sorted(rows)] for name, rows in sorted(found.items())}


def normalised(text: str, names: Mapping[str, str]) -> str:
    """`text` without what a run makes up. `names`: physical names of resources, and what stands for each.

    >>> normalised("arn:aws:s3:::b-7f/runs/k3x9q2m7w1ab/model/x", {"b-7f": "<DataBucket>"})
    'arn:aws:s3:::<DataBucket>/runs/<run>/model/x'
    """
    for physical, name in names.items():
        text = text.replace(physical, name)
    for expression, name in MADE_UP:
        text = re.sub(expression, name, text)
    return text


def main() -> None:
    nobody = Trap(1)
    with tempfile.TemporaryDirectory() as folder, walked(Path(folder), nobody) as project:
        all_pipelines_run(project)
        for role in FUNCTIONS:
            do_work(project, role)
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        lines = {
            name: "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]"
            for name, rows in table(project).items()
        }
        TABLE.write_text("{\n" + ",\n".join(f' "{name}": {rows}' for name, rows in lines.items()) + "\n}\n")
        print(f"{sum(text.count(chr(10)) - 1 for text in lines.values())} calls of {len(lines)} roles in {TABLE}")


if __name__ == "__main__":
    main()
