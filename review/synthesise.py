"""Synthesises the project in the current folder; a program of its own, run in the folder of each side.

    python <this file> settings                      the environments' settings, as JSON on standard output
    python <this file> synth <outdir> <env,env,…>    a cloud assembly in <outdir>, and facts.json beside it; `delivery`
                                                     among them is the accounts' own stage, and wants every environment

It runs that side's own app.py, with the packages of the virtual environment that the review runs in: a base that
wants other versions of them may be refused, and the review says so. Exit code 3: the project refused, and standard
output says why, in as many lines as it takes.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

REFUSED = 3
DELIVERY = "delivery"
STAND_IN = "stand-in/repository"
"""Whom the accounts trust where nobody has said so yet: so that the code of that trust can be reviewed."""
HERE = Path.cwd()
sys.path[:1] = [str(HERE)]  # as `python app.py` has it; not this file's folder: `review` is the other side's
sys.dont_write_bytecode = True


def main(arguments: list[str]) -> None:
    try:
        if arguments[0] == "settings":
            print(json.dumps(settings()))
        else:
            synth(Path(arguments[1]), set(arguments[2].split(",")))
    except (Exception, SystemExit) as error:
        # app.py ends with its own words for a fault of the settings; which kind it was, is in what it caught.
        cause = error.__context__ if isinstance(error, SystemExit) and error.__context__ else error
        print(f"{type(cause).__name__}: {cause}")
        sys.exit(REFUSED)


def settings() -> dict[str, Any]:
    import environments

    told = {name: as_data(one) for name, one in environments.ENVIRONMENTS.items()}
    if hasattr(environments, "DELIVERY"):
        told[DELIVERY] = as_data(environments.DELIVERY)
    return told


def as_data(value: Any) -> Any:
    """Settings as JSON has them; a dataclass says which it is."""
    if dataclasses.is_dataclass(value):
        members = {field.name: as_data(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"is": type(value).__name__} | members
    if isinstance(value, list | tuple | set | frozenset):
        return [as_data(item) for item in value]
    if isinstance(value, dict):
        return {str(key): as_data(item) for key, item in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def synth(outdir: Path, wanted: set[str]) -> None:
    """Runs app.py as `cdk synth` does: as a program, with the context of cdk.json."""
    os.environ["CDK_OUTDIR"] = str(outdir)
    os.environ["CDK_CONTEXT_JSON"] = json.dumps(context())
    import environments

    everything = settings()
    if DELIVERY in wanted:
        if environments.DELIVERY is None:
            from stacks.config import Delivery

            environments.DELIVERY = Delivery(repository=STAND_IN)
    else:
        if hasattr(environments, "DELIVERY"):
            environments.DELIVERY = None
        leave_out(wanted)
    judged()
    runpy.run_path("app.py", run_name="__main__")
    rows, explains = reasons()
    found = findings(outdir)
    for one in found:
        one["reason"] = next((row[2] for row in rows if explains(row, one["path"], one["rule"])), "")
    facts = {"settings": everything, "findings": found, "reasons": rows}
    (outdir / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def context() -> dict[str, Any]:
    """What the CDK's command line hands to an app of this folder."""
    told: dict[str, Any] = {}
    if (cached := HERE / "cdk.context.json").is_file():
        told |= json.loads(cached.read_text(encoding="utf-8"))
    return told | json.loads((HERE / "cdk.json").read_text(encoding="utf-8")).get("context", {})


def leave_out(wanted: set[str]) -> None:
    """Have app.py make the stages of these environments only. It still knows the others, which they may name."""
    from stacks import stage

    whole = stage.AmplifyStage

    def make(scope: Any, environment: Any, *arguments: Any, **options: Any) -> Any:
        return whole(scope, environment, *arguments, **options) if environment.name in wanted else None

    vars(stage)["AmplifyStage"] = make


def judged() -> None:
    """Have every app of this process held to cdk-nag and to our own pack, whose findings are what we are here for."""
    import aws_cdk as cdk
    from cdk_nag import AwsSolutionsChecks

    synth_alone = cdk.App.synth

    def synth_with_packs(app: Any, **options: Any) -> Any:
        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app, verbose=False))
        with contextlib.suppress(ImportError):  # a base from before the pack
            from stacks.nag_pack import SageMakerChecks

            cdk.Validations.of(app).add_plugins(SageMakerChecks(app))
        try:
            return synth_alone(app, **options)
        except RuntimeError as error:
            if "ValidationFailed" not in str(error):
                raise
            return None

    setattr(cdk.App, "synth", synth_with_packs)  # noqa: B010


def findings(outdir: Path) -> list[dict[str, str]]:
    path = outdir / "validation-report.json"
    if not path.exists():
        return []
    found = []
    for plugin in json.loads(path.read_text(encoding="utf-8"))["pluginReports"]:
        for violation in plugin["violations"]:
            for construct in violation["violatingConstructs"]:
                found.append(
                    {
                        "pack": plugin["pluginName"],
                        "rule": violation["ruleName"],
                        "path": str(construct.get("constructPath", "")),
                        "description": str(violation.get("description", "")),
                        "severity": str(violation.get("severity", "error")),
                    }
                )
    return found


def reasons() -> tuple[list[Any], Any]:
    """The findings that this side's tests accept, with their reasons, and how they tell which is about which."""
    sys.path.append(str(HERE / "model_code"))
    with contextlib.suppress(Exception):  # a base from before the table
        test_nag = importlib.import_module("tests.stacks.test_nag")

        return list(test_nag.ALL_EXPLAINED), test_nag.explains
    return [], lambda *_: False


if __name__ == "__main__":
    main(sys.argv[1:])
