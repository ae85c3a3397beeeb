"""Orders to interrupt a job, as files: whoever gives one (`spot_market`) and the server that takes it meet here."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from local_aws.files import write_whole
from local_aws.settings import Settings
from local_aws.store import Scope

ORDER = "interrupt.json"


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """Machines that are taken away: `notice` seconds between SIGTERM and SIGKILL, and `pause` seconds until others
    are free."""

    notice: float
    pause: float


def job_folder(settings: Settings, scope: Scope, kind: str, name: str) -> Path:
    """Where a job has its files while it runs."""
    return settings.jobs / scope.account / scope.region / kind / name


def give(folder: Path, interruption: Interruption) -> Path:
    """Leave an order in a job's folder. Returns the file, which is gone once the order is taken."""
    write_whole(folder / ORDER, json.dumps(asdict(interruption)))
    return folder / ORDER


def take(folder: Path) -> Interruption | None:
    """The order that lies in a job's folder, if one does: it lies there no longer."""
    try:
        ordered = Interruption(**json.loads((folder / ORDER).read_text()))
    except FileNotFoundError:
        return None
    (folder / ORDER).unlink()
    return ordered
