"""The records of SageMaker's resources: in memory to read, on disk before anybody is told that a change was made.

One JSON file a record, replaced whole, so a server killed at any moment leaves every record as it was before or after a
change. Records are values: read them freely, change them by `change` or `put` only.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from local_aws.files import write_whole

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Scope:
    """One account in one region: the same name in another scope is another resource."""

    account: str
    region: str

    def arn(self, resource: str) -> str:
        """The ARN of a SageMaker resource, from its last part such as `endpoint/amplify-dev`."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{resource}"


class Store:
    """Records by scope, kind (the word that its ARN has: `training-job`) and name.

    `lock` guards a read that decides about a write; single calls need no guard.
    """

    def __init__(self, folder: Path) -> None:
        """Read what an earlier server left in `folder`. Raises ValueError on a broken file."""
        self.lock = threading.RLock()
        self._folder = folder
        self._records: dict[tuple[Scope, str], dict[str, Record]] = {}
        for file in folder.glob("*/*/*/*.json"):
            self._read(file)

    def get(self, scope: Scope, kind: str, name: str) -> Record | None:
        with self.lock:
            return self._records.get((scope, kind), {}).get(name)

    def all(self, scope: Scope, kind: str) -> list[Record]:
        """All of one kind, oldest first."""
        with self.lock:
            records = self._records.get((scope, kind), {}).values()
            return sorted(records, key=lambda record: record.get("CreationTime", 0))

    def everywhere(self, kind: str) -> Iterator[tuple[Scope, str, Record]]:
        """(scope, name, record) of one kind in all accounts and regions."""
        with self.lock:
            found = [
                (scope, name, record)
                for (scope, of_kind), records in self._records.items()
                if of_kind == kind
                for name, record in records.items()
            ]
        yield from found

    def put(self, scope: Scope, kind: str, name: str, record: Record) -> Record:
        """Keep `record`, on disk first."""
        with self.lock:
            write_whole(self._file(scope, kind, name), json.dumps({"name": name, "record": record}))
            self._records.setdefault((scope, kind), {})[name] = record
            return record

    def change(self, scope: Scope, kind: str, name: str, **changes: Any) -> Record:
        """Replace some members; those given as None are dropped. Returns the record; raises KeyError without one."""
        with self.lock:
            record = {**self._records[scope, kind][name], **changes}
            return self.put(scope, kind, name, {key: value for key, value in record.items() if value is not None})

    def delete(self, scope: Scope, kind: str, name: str) -> None:
        """Forget a record. Raises KeyError where there is none."""
        with self.lock:
            del self._records[scope, kind][name]
            self._file(scope, kind, name).unlink(missing_ok=True)

    def _file(self, scope: Scope, kind: str, name: str) -> Path:
        """A file name that every file system holds, also one that cannot tell `a` from `A`."""
        readable = re.sub(r"[^A-Za-z0-9.-]", "_", name)[-80:]
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        return self._folder / quote(scope.account) / quote(scope.region) / kind / f"{readable}.{digest}.json"

    def _read(self, file: Path) -> None:
        account, region, kind = file.relative_to(self._folder).parts[:3]
        try:
            kept = json.loads(file.read_text())
            name, record = kept["name"], kept["record"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} holds no record ({error}): move it away to start without it") from None
        self._records.setdefault((Scope(account, region), kind), {})[name] = record


_current: Store | None = None


def open_store(folder: Path) -> Store:
    """Make the store in `folder` that of this process, and return it."""
    global _current
    _current = Store(folder)
    return _current


def current() -> Store:
    """The store of this server. Raises RuntimeError before `open_store`."""
    if _current is None:
        raise RuntimeError("SageMaker's records are not read yet: the server calls api.restore when it starts")
    return _current
