"""A pin on a git branch of its own, with the text of a pull request: nobody's checkout is touched."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from operate.errors import OperateError
from operate.ledger import release_id
from operate.promotion_gates import Gate
from operate.releases import Pin, as_text
from stacks.config import Environment

FORGE = re.compile(r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)([\w.-]+)[:/](?:\d+/)?([\w.-]+/[\w.-]+?)(?:\.git)?/?")
"""A remote, as git writes it: host, owner and name."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The git repository that the release pins are in."""

    top: Path
    releases: str
    """The folder of the pins, relative to `top`."""

    @classmethod
    def of(cls, releases: Path) -> "Repository":
        """Raises OperateError where the folder is in no repository with a commit."""
        try:
            releases.mkdir(parents=True, exist_ok=True)
            top = Path(_git(releases, "rev-parse", "--show-toplevel").strip()).resolve()
            _git(top, "rev-parse", "--verify", "HEAD")
        except OperateError:
            raise OperateError(
                f"{releases} is in no git repository with a commit: a promotion is a branch to be reviewed.",
                todo="Work in a clone of the project, or name the folder of the pins in one: AMPLIFY_RELEASES_DIR.",
            ) from None
        return cls(top=top, releases=releases.resolve().relative_to(top).as_posix())

    def check_committed(self, environment: str, pin: Pin | None) -> None:
        """Raises OperateError where the pin that lies there is not the one in HEAD: what is promoted was reviewed."""
        path = f"{self.releases}/{environment}.json"
        shown = _git(self.top, "show", f"HEAD:{path}", may_fail=True)
        if shown != (as_text(pin) if pin is not None else ""):
            raise OperateError(
                f"{path} is not the one in HEAD.", todo="Commit it (or put it back): a release is a commit."
            )

    def waiting(self, environment: str, artifact_sha256: str, image_digest: str) -> str | None:
        """A branch that promotes these very bytes and is not merged yet."""
        listed = _git(self.top, "for-each-ref", "--format=%(refname:short)", f"refs/heads/promote/{environment}/")
        merged = _git(self.top, "branch", "--format=%(refname:short)", "--merged", "HEAD").split()
        for name in listed.split():
            try:
                pin = json.loads(_git(self.top, "show", f"{name}:{self.releases}/{environment}.json", may_fail=True))
                same = (pin["artifact"]["sha256"], pin["image_digest"]) == (artifact_sha256, image_digest)
            except (ValueError, KeyError, TypeError):
                continue  # a branch of that name with something else on it
            if same and name not in merged:
                return name
        return None

    def branch(self, environment: str, pin: Pin, title: str) -> str:
        """Commit the pin on a new branch from HEAD; returns the branch's name. Raises OperateError."""
        name = f"promote/{environment}/{release_id(pin)}"
        path = f"{self.releases}/{environment}.json"
        blob = _git(self.top, "hash-object", "-w", "--stdin", given=as_text(pin)).strip()
        with tempfile.TemporaryDirectory(prefix="amplify-index-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            _git(self.top, "read-tree", "HEAD", environ=index)
            _git(self.top, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", environ=index)
            tree = _git(self.top, "write-tree", environ=index).strip()
        commit = _git(self.top, "commit-tree", tree, "-p", "HEAD", "-m", title).strip()
        # Forty zeros: only where there is no such branch yet.
        _git(self.top, "update-ref", f"refs/heads/{name}", commit, "0" * 40)
        return name

    def carry(self, branch: str, folder: Path) -> None:
        """Lay a branch into a folder, for a clone that has what it begins from: its name, and git's own bundle."""
        folder.mkdir(parents=True, exist_ok=True)
        _git(self.top, "bundle", "create", str((folder / "branch.bundle").resolve()), f"HEAD..{branch}", branch)
        (folder / "branch").write_text(branch, encoding="utf-8")

    def review_of(self, branch: str) -> str:
        """How a reviewer sees what the branch does: the comparison, and the command that tells what it changes."""
        base = _git(self.top, "branch", "--show-current").strip() or "HEAD"
        commands = f"`make review BASE={base} HEAD={branch}`; where workflows run, their comment has that page."
        remote = _git(self.top, "remote", "get-url", "origin", may_fail=True).strip()
        found = FORGE.fullmatch(remote)
        return f"https://{found[1]}/{found[2]}/compare/{base}...{branch}\n\n{commands}" if found else commands


def title_of(pin: Pin, source: Environment, target: Environment) -> str:
    version = pin["promoted_from"]["model_package_arn"].rpartition("/")[2]
    return f"Promote {pin['recipe']}, version {version} of {source.name}, to {target.name}"


def body_of(pin: Pin, before: Pin | None, gates: Sequence[Gate], target: Environment, review: str) -> str:
    """The pull request's text: what changes, on what evidence, and how to go back."""
    evaluation, earlier = pin["evaluation"], before["evaluation"] if before else None
    rows = [
        ("model package", pin["model_package_arn"], before and before["model_package_arn"]),
        ("recipe", pin["recipe"], before and before["recipe"]),
        ("artefact, SHA-256", pin["artifact"]["sha256"], before and before["artifact"]["sha256"]),
        ("image", pin["image_digest"], before and before["image_digest"]),
        ("code commit", pin["code_commit"], before and before["code_commit"]),
        ("data manifest, SHA-256", pin["data_manifest_sha256"], before and before["data_manifest_sha256"]),
        ("loss, nats a residue", f"{evaluation['loss']:.4f}", earlier and f"{earlier['loss']:.4f}"),
        ("held-out proteins", f"{evaluation['proteins']:,}", earlier and f"{earlier['proteins']:,}"),
        ("approved", f"{pin['approved_by']}, {pin['approved_at']}", before and before["approved_at"]),
        ("promoted", f"{pin['promoted_from']['promoted_by']}, {pin['promoted_from']['promoted_at']}", None),
    ]
    table = "\n".join(f"| {name} | {old or '—'} | {new or '—'} |" for name, new, old in rows)
    passed = "\n".join(f"- {gate.line}" for gate in gates)
    return (
        f"Image and artefact are in {target.name}'s own account already; merging deploys them, by a canary that the "
        f"endpoint's alarms can take back.\n\n"
        f"| | in {target.name} now | after the merge |\n|---|---|---|\n{table}\n\n"
        f"### Gates\n{passed}\n\n"
        f"### Review\n{review}\n\n"
        f"### Going back\n`amplify rollback --env {target.name}` writes the pin of now again.\n"
    )


def _git(
    folder: Path,
    *arguments: str,
    given: str | None = None,
    environ: dict[str, str] | None = None,
    may_fail: bool = False,
) -> str:
    """What git prints; with `may_fail`, nothing where it fails. Raises OperateError."""
    who = {
        name: os.environ.get(name, value)
        for name, value in (
            ("GIT_AUTHOR_NAME", "amplify promote"),
            ("GIT_AUTHOR_EMAIL", "amplify@localhost"),
            ("GIT_COMMITTER_NAME", "amplify promote"),
            ("GIT_COMMITTER_EMAIL", "amplify@localhost"),
        )
    }
    known = subprocess.run(
        ["git", "-C", str(folder), "config", "user.email"], capture_output=True, text=True, check=False
    ).stdout.strip()
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=given,
        env={**os.environ, **({} if known else who), **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and may_fail:
        return ""
    if done.returncode:
        raise OperateError(f"git {arguments[0]} failed: {done.stderr.strip()}", todo="Mend it and promote again.")
    return done.stdout
