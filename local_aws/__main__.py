"""Local AWS for people: `python -m local_aws up | down | status | env | calls | interrupt` (and `serve`)."""

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

from local_aws import calls, server, spot_market, users
from local_aws.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, 1 where something failed or, of `status`, where nothing runs."""
    options = _parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except (server.LocalAwsError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_aws", description="AWS on this machine, in one folder.")
    words = "up | down | status | env | calls | interrupt"
    commands = parser.add_subparsers(dest="command", required=True, metavar=words)
    for name, help in (
        ("up", "start it, or find that it runs"),
        ("down", "stop it and everything it started; its state stays"),
        ("status", "say whether it runs, and where"),
        ("calls", "list what roles and users asked for in strict mode, and what IAM said"),
        ("env", 'print the variables of its clients: eval "$(python -m local_aws env)"'),
        ("interrupt", "take a spot training job's machines away, as AWS does when it wants them back"),
        ("serve", "the server itself, until SIGTERM; `up` starts it"),
    ):
        command = commands.add_parser(name, help=help)
        default = Path(os.environ.get("AMPLIFY_LOCAL_DIR", ".local"))
        command.add_argument("--folder", type=Path, default=default, help="where its state is (%(default)s)")
        if name == "serve":
            command.add_argument("--port", type=int, required=True)
            command.add_argument("--strict", action="store_true")
        if name == "up":
            about = "hold every call to IAM's policies, over https; without either, as last time"
            command.add_argument("--strict", action=argparse.BooleanOptionalAction, help=about)
        if name == "calls":
            command.add_argument("--denied", action="store_true", help="only what was refused")
            command.add_argument("--json", action="store_true", help="for machines: one JSON document a line")
        if name == "env":
            command.add_argument("--user", help="an IAM user, in place of the administrator")
        if name == "interrupt":
            command.add_argument("job", help="name of the training job")
            notice = "seconds between SIGTERM and SIGKILL (%(default)g)"
            command.add_argument("--notice", type=float, default=spot_market.NOTICE_SECONDS, help=notice)
            command.add_argument("--pause", type=float, default=0.0, help="seconds until it has others (%(default)g)")
    return parser


def _up(options: argparse.Namespace) -> int:
    running = server.start(options.folder, strict=options.strict)
    print(f"Local AWS answers at {running.endpoint_url} (process {running.pid}), state in {running.folder}")
    return 0


def _down(options: argparse.Namespace) -> int:
    ran = server.stop(options.folder)
    print("Local AWS and everything it started has ended." if ran else f"No local AWS runs in {options.folder}.")
    return 0


def _status(options: argparse.Namespace) -> int:
    running = server.status(options.folder)
    if running is None:
        print(f"No local AWS runs in {options.folder}. Start it with `python -m local_aws up`.")
        return 1
    print(
        f"Local AWS answers at {running.endpoint_url} (process {running.pid}), account {running.account}, "
        f"{running.region}, state in {running.folder}"
    )
    return 0


def _env(options: argparse.Namespace) -> int:
    who = users.credentials(options.folder, options.user) if options.user else None
    for name, value in server.client_environment(options.folder, who).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _calls(options: argparse.Namespace) -> int:
    """One line a call for people, the record's own lines with --json."""
    for call in calls.read(Settings(folder=options.folder, port=1).calls):
        if options.denied and call["allowed"]:
            continue
        if options.json:
            print(json.dumps(call))
        else:
            said = "allowed" if call["allowed"] else call["code"]
            print(f"{calls.principal_name(call['principal'])}\t{call['action']}\t{call['resource']}\t{said}")
    return 0


def _interrupt(options: argparse.Namespace) -> int:
    spot_market.interrupt(options.folder, options.job, notice=options.notice, pause=options.pause)
    print(f"Training job {options.job} is being interrupted; it goes on from its newest checkpoint in S3.")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from local_aws import host

    return host.serve(Settings(folder=options.folder, port=options.port, strict=options.strict))


_COMMANDS = {"up": _up, "down": _down, "status": _status, "env": _env, "calls": _calls}
_COMMANDS |= {"interrupt": _interrupt, "serve": _serve}

if __name__ == "__main__":
    sys.exit(main())
