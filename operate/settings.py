"""Where things are on this machine. The one place where the `amplify` command reads environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from operate.errors import OperateError
from stacks.config import Delivery, Environment, SettingsError
from stacks.config.promotion import Neighbours, neighbours

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Folders that a command works in; all absolute."""

    state: Path
    """Everything of local AWS, and what the command itself keeps: logs, the cloud assembly, downloads."""

    releases: Path
    """The release pins, `<env>.json`."""

    local_user: str | None
    """The IAM user that commands are in local AWS's strict mode; None is its administrator."""

    user_environ: Mapping[str, str]
    """The environment as the person's shell gave it."""


def read_settings(environ: Mapping[str, str], here: Path) -> Settings:
    """The settings of a command that runs in folder `here`, from AMPLIFY_LOCAL_DIR, AMPLIFY_RELEASES_DIR and
    AMPLIFY_LOCAL_USER."""

    def folder(variable: str, default: Path) -> Path:
        return (here / environ[variable]).resolve() if environ.get(variable) else default

    return Settings(
        state=folder("AMPLIFY_LOCAL_DIR", ROOT / ".local"),
        releases=folder("AMPLIFY_RELEASES_DIR", ROOT / "releases"),
        local_user=environ.get("AMPLIFY_LOCAL_USER") or None,
        user_environ=dict(environ),
    )


def all_environments() -> tuple[Mapping[str, Environment], Delivery | None]:
    """What environments.py holds: the environments, and who deploys them. Raises OperateError with all its faults."""
    try:
        from environments import DELIVERY, ENVIRONMENTS  # here, where somebody answers for their faults
    except SettingsError as error:
        raise OperateError(
            str(error), todo="Nothing was done. Mend these values, and run the same command again."
        ) from None
    except Exception as error:  # a name that is none, a comma too few: in Python's own words
        what = f"environments.py cannot be read: {type(error).__name__}: {error}"
        raise OperateError(what, todo="Nothing was done. `.venv/bin/python environments.py` shows the line.") from None
    return ENVIRONMENTS, DELIVERY


def neighbours_of(name: str) -> Neighbours:
    """Whom an environment exchanges releases with. Raises what `environment_named` does."""
    return neighbours(all_environments()[0])[environment_named(name).name]


def environment_named(name: str) -> Environment:
    """The environment of environments.py. Raises OperateError for another name, and for faults in that file."""
    environments, _ = all_environments()
    if name not in environments:
        raise OperateError(f"There is no environment {name!r}.", todo=f"Give --env {' or '.join(environments)}.")
    return environments[name]
