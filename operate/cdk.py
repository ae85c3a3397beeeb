"""The real CDK command line, the one that package-lock.json pins: synthesise, bootstrap, deploy, destroy.

It writes to a log file; a person sees its latest line while it works, and the part that matters when it fails.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from operate.aws import Aws
from operate.errors import OperateError
from operate.settings import ROOT

CLI = ROOT / "node_modules" / ".bin" / "cdk"
SYNTH_LIMIT_S = 180
DEPLOY_LIMIT_S = 600
QUIET = {
    "CDK_DISABLE_CLI_TELEMETRY": "1",
    "CDK_DISABLE_VERSION_CHECK": "1",
    "NODE_NO_WARNINGS": "1",
    "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
    "NO_COLOR": "1",
    "CI": "1",
}
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Cdk:
    """The command line, for one environment."""

    aws: Aws
    releases: Path
    assembly: Path
    """Folder of the synthesised cloud assembly."""
    log: Path

    def synth(self, show: Show) -> None:
        """Synthesise every environment into the assembly. Raises OperateError."""
        self.releases.mkdir(parents=True, exist_ok=True)
        app = shlex.join([sys.executable, str(ROOT / "app.py")])
        arguments = [
            "--app",
            app,
            "synth",
            "--quiet",
            "-c",
            f"releases={self.releases}",
            "--output",
            str(self.assembly),
        ]
        self._run(arguments, SYNTH_LIMIT_S, show)

    def bootstrap(self, show: Show) -> None:
        """Make the CDK's own bucket and roles in the account, where they are not there yet. Raises OperateError."""
        environment = self.aws.environment
        target = f"aws://{environment.account}/{environment.region}"
        self._run(["--app", str(self.assembly), "bootstrap", target], DEPLOY_LIMIT_S, show)

    def deploy(self, stacks: str, show: Show, *, method: str = "change-set", limit_s: int | None = None) -> None:
        """Deploy the stacks of a pattern from the assembly, each after those it needs. Raises OperateError."""
        arguments = ["deploy", stacks, "--require-approval", "never", "--progress", "events", "--method", method]
        self._run(["--app", str(self.assembly), *arguments], limit_s or DEPLOY_LIMIT_S, show)

    def deploy_in_the_open(self, stacks: str, *, reviewed: bool = False) -> None:
        """The same with all that the command line says, which asks at a terminal before permissions broaden; not where
        that was `reviewed`. Raises OperateError."""
        command = [str(CLI), "--app", str(self.assembly), "deploy", stacks]
        command += ["--require-approval", "never", "--progress", "events"] if reviewed else []
        if subprocess.run(
            command, env={**self.aws.environ, **_without(QUIET, "CI", "NO_COLOR")}, check=False
        ).returncode:
            raise OperateError("The deployment did not go through.", todo="What is above says why.")

    def take_over(self, stack: str, resources: Mapping[str, Mapping[str, str]], show: Show) -> None:
        """Make a stack of resources that are there: their logical ids, and by which property each is found. Nothing is
        changed of them, and nothing else is made; `deploy` does the rest. Raises OperateError."""
        mapping = self.assembly.parent / "take-over.json"
        mapping.write_text(json.dumps(resources, indent=1), encoding="utf-8")
        arguments = ["import", stack, "--resource-mapping", str(mapping), "--progress", "events"]
        self._run(["--app", str(self.assembly), *arguments], DEPLOY_LIMIT_S, show)

    def destroy(self, stacks: str, show: Show) -> None:
        """Delete the stacks of a pattern, each before those it needs, but what they retain. Raises OperateError."""
        self._run(["--app", str(self.assembly), "destroy", stacks, "--force"], DEPLOY_LIMIT_S, show)

    def _home(self, verb: str) -> dict[str, str]:
        """A home of its own: `~/.cdk.json` has profiles, which lead away from local AWS, and context, which changes
        templates. Deploying to a real account is another matter: its credentials may lie in the person's home."""
        if verb != "synth" and not self.aws.is_local:
            return {}
        home = self.assembly.parent / "home"
        home.mkdir(parents=True, exist_ok=True)
        kept = {"JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(jsii_cache(self.aws.environ)), **self.aws.environ}
        return {**kept, "HOME": str(home)}

    def _run(self, arguments: list[str], limit_s: int, show: Show) -> None:
        if not CLI.exists():
            raise OperateError("The CDK command line is not installed.", todo="Run `make setup`.")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            begin = log.tell()
            log.write(f"\n$ cdk {' '.join(arguments)}\n".encode())
            log.flush()
            # Its own process group, so that all of it can be ended: node, and Python under jsii below it.
            child = subprocess.Popen(
                [str(CLI), *arguments],
                env={**self.aws.environ, **QUIET, **self._home(_verb(arguments))},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            code = _wait(child, limit_s, lambda: show(_last_line(self.log, begin)), self.aws.has_ended)
        finally:
            _end(child)
        if self.aws.has_ended():
            raise OperateError(
                f"Local AWS ended while `cdk {_verb(arguments)}` ran.",
                todo="`amplify up` starts it again and settles what was interrupted; then run the same command again.",
            )
        if code != 0:
            text = _text_from(self.log, begin)
            what = f"took longer than {limit_s} s" if code is None else f"failed (exit code {code})"
            raise OperateError(
                f"`cdk {_verb(arguments)}` {what}{_reason(text)}",
                todo=f"The whole output is in {self.log}. Mend it and run the same command again.",
                log_tail="\n".join(text.splitlines()[-20:]),
            )


def _wait(
    child: "subprocess.Popen[bytes]", limit_s: float, tell: Callable[[], None], in_vain: Callable[[], bool]
) -> int | None:
    """The exit code, or None after the limit or where waiting is in vain."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up and not in_vain():
        try:
            return child.wait(timeout=0.3)
        except subprocess.TimeoutExpired:
            tell()
    return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the process and all below it; does nothing for one that has ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            return
        os.killpg(child.pid, number)
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            continue


def jsii_cache(environ: Mapping[str, str]) -> Path:
    """Where jsii keeps unpacked packages by default, in the person's home: unpacking takes seconds.

    https://github.com/aws/jsii, packages/@jsii/kernel/src/tar-cache/default-cache-root.ts
    """
    home = Path(environ.get("HOME", "~")).expanduser()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "com.amazonaws.jsii" / "package-cache"
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "aws" / "jsii" / "package-cache"


def _verb(arguments: list[str]) -> str:
    return next(word for word in arguments if word in ("synth", "bootstrap", "deploy", "import", "destroy"))


def _text_from(log: Path, begin: int) -> str:
    return ANSI.sub("", log.read_bytes()[begin:].decode(errors="replace"))


def _last_line(log: Path, begin: int) -> str:
    lines = [line.strip() for line in _text_from(log, begin).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _reason(text: str) -> str:
    """The line that says why: our own refusal to synthesise, a failed resource's reason, or an error of the CDK."""
    patterns = (
        r"Nothing was synthesised\. (.+(?:\n  .+)*)",
        r"\| (\w+_FAILED +\|.+)",
        r"(\S+: fail: .+)",
        r"failed: (.+)",
        r"Error: (\S.*)",
    )
    for pattern in patterns:
        if found := re.search(pattern, text):
            return f": {found.group(1).strip()}"
    return ""


def _without(variables: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in names}
