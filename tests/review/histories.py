"""Histories of a repository of its own, and their review, as a person asks for it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.review.workshop import ROOT

GIT = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *GIT, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(repository: Path, message: str) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)
    return git(repository, "rev-parse", "HEAD")


def review(repository: Path, out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Without any AWS: what the person has of it must be of no use."""
    environ = os.environ | {"AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    cache = repository.parent / "cache"
    where = ["--repository", str(repository), "--out", str(out), "--cache", str(cache)]
    return subprocess.run(
        [sys.executable, "-m", "review", *where, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True
    )
