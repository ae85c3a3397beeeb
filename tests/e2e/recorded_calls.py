"""What each role of the stacks asks AWS for in a strict run, call by call, under names that are the same in every run.

    python -m tests.e2e.recorded_calls      # walks the whole way, in about six minutes, and writes the table

`{"<setting>/<stack>/<role>": [[action, resource, {condition key: value}], …]}`, sorted, each call once, is the table in
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
from tests.e2e.held_roles import HELD
from tests.e2e.role_work import do_work
from tests.e2e.strict_project import StrictProject, all_pipelines_run, drift_looked_at, serve, walked

TABLE = ROOT / "tests" / "data" / "iam" / "recorded_calls.json"
KEPT_CONDITIONS = ("s3:prefix", "iam:PassedToService", "cloudwatch:namespace", "kms:ViaService")
MADE_UP = (  # what a run makes up, and what stands for it
    (r"pipelines-[a-z0-9]{12}-(\w+?)-[0-9a-f]{10}", r"pipelines-<run>-\1-<job>"),
    (r"(runs|checkpoints|execution)/[a-z0-9]{12}\b", r"\1/<run>"),
    (r"/algo-1-\d{10}", "/algo-1-<time>"),
    (r"/i-[0-9a-f]{17}(-\d{10})?", "/i-<instance>"),
    (r"(captured/[\w-]+/\w+)/\d{4}(/\d\d){3}/(\d\d-\d\d-\d{3})?", r"\1/<time>"),
    (r"drift/\d{4}-\d\d-\d\d/drift-\d{6}", "drift/<day>/drift-<time>"),
    (r"\bagain-[0-9a-f]{8}\b", "again-<job>"),
    (r"\bamplify-local-[0-9a-f]{8}\b", "amplify-local-<job>"),
    (r"\b[0-9a-f]{32}\b", "<request>"),
    (r"step-\d{8}", "step-<step>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<build>"),
)

Table = dict[str, list[list[Any]]]


def table(project: StrictProject, setting: str, since: int = 0) -> Table:
    """The calls that the roles of a setting made from the `since`-th of all on. Raises AssertionError where one was
    refused: that is no record of what works."""
    roles = {f":assumed-role/{project.roles()[role]}/": f"{setting}/{role}" for role in HELD[setting]}
    names = project.physical_names()
    found: dict[str, set[str]] = {name: set() for name in roles.values()}
    for call in project.calls()[since:]:
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
        drift_looked_at(project)
        all_pipelines_run(project)
        found: Table = {}
        for setting, roles in HELD.items():
            if found:
                serve(project, setting)
            since = len(project.calls()) if found else 0
            for role in roles:
                assert do_work(project, role) == "", role
            found |= table(project, setting, since)
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        lines = {
            name: "[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n ]" for name, rows in found.items()
        }
        TABLE.write_text("{\n" + ",\n".join(f' "{name}": {rows}' for name, rows in lines.items()) + "\n}\n")
        print(f"{sum(len(rows) for rows in found.values())} calls of {len(found)} roles in {TABLE}")


if __name__ == "__main__":
    main()
