"""The `amplify` command. `amplify --help` lists what it can do; docs/real-account.md says what needs an account.

Exit codes: 0 done, 1 failed (one message, and what to do), 2 wrong usage, 3 a review's gate not passed, 130
interrupted. People never see a stack trace: one that we did not foresee goes to `amplify-errors.log` in the state
folder.
"""

import os
import sys
import traceback
from pathlib import Path

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from local_aws.server import LocalAwsError
from operate import (
    commands_ask,
    commands_aws,
    commands_batch,
    commands_data,
    commands_delivery,
    commands_image,
    commands_model,
    commands_release,
    commands_review,
)
from operate.client import EndpointError
from operate.errors import MAY_NOT, InterruptedByPersonError, OperateError, is_refusal
from operate.screen import print_error
from operate.settings import read_settings

app = typer.Typer(
    help="Train, release and ask the AMPLIFY protein language model, on this machine or on AWS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    *(commands_aws, commands_image, commands_data, commands_model, commands_ask, commands_batch),
    *(commands_release, commands_delivery, commands_review),
)
for commands in COMMANDS:
    app.add_typer(commands.app)


def main() -> None:
    """Run the command; every failure becomes one message and an exit code."""
    settings = read_settings(dict(os.environ), Path.cwd())
    errors = Console(stderr=True)
    try:
        app(obj=settings)  # typer itself answers wrong usage (2) and Ctrl-C (130)
    except OperateError as error:
        print_error(errors, error)
        sys.exit(130 if isinstance(error, InterruptedByPersonError) else 1)
    except EndpointError as error:
        print_error(errors, OperateError(f"The endpoint answers: {error} [{error.code}]", todo=todo_for(error)))
        sys.exit(1)
    except LocalAwsError as error:
        print_error(errors, OperateError(str(error), todo="`amplify doctor` looks at this machine."))
        sys.exit(1)
    except (ClientError, BotoCoreError) as error:
        refused = isinstance(error, ClientError) and is_refusal(error)
        todo = MAY_NOT if refused else "`amplify status` shows what is deployed."
        print_error(errors, OperateError(f"AWS answers: {error}", todo=todo))
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()  # `amplify runs | head`: nobody reads on, and that is no failure
        sys.exit(0)
    except Exception:
        sys.exit(report_bug(errors, settings.state))


def todo_for(error: EndpointError) -> str:
    """What a person can do about an endpoint's refusal."""
    if error.status == 429:
        return "Its queue is full: try again in a while, or send less at once."
    if error.status == 503:
        return "It is starting or ending: `amplify status` shows when it is in service."
    if error.status == 413:
        return "The message says the limit: shorten the protein, or split the file."
    if 400 <= error.status < 500:
        return "Mend the place that it names, and ask again."
    return "Its log says more: CloudWatch Logs, /aws/sagemaker/Endpoints/<endpoint>."


def report_bug(errors: Console, state: Path) -> int:
    """Keep the stack trace of what nobody foresaw, and say where it is."""
    state.mkdir(parents=True, exist_ok=True)
    log = state / "amplify-errors.log"
    with log.open("a") as file:
        traceback.print_exc(file=file)
    last = traceback.format_exc().strip().splitlines()[-1]
    todo = f"Nothing was meant to go wrong here: please report it with the end of {log}."
    print_error(errors, OperateError(f"amplify itself failed: {last}", todo=todo))
    return 1


if __name__ == "__main__":
    main()
