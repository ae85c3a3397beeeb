"""What workflows may do without anybody's yes: approvals and orders that are lost, rights that come without one, new
triggers, failures that no longer count, code of others that is not pinned.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from review.remarks import Remark
from review.words import listed, quoted

Json = dict[str, Any]
OF_STRANGERS = ("pull_request_target", "workflow_run", "issue_comment", "issues")
"""Triggers that run with the repository's own rights on what anybody may send."""
_PINNED = re.compile(r"\./.*|docker://.*@sha256:[0-9a-f]{64}|.*@[0-9a-f]{40}([0-9a-f]{24})?")
_WHATEVER_FAILED = re.compile(r"(?<!!)\b(always|failure|cancelled)\s*\(")


def workflow_remarks(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Remark]:
    """Both sides' workflows, path → text."""
    for path, text in after.items():
        if text == before.get(path):
            continue
        file = path.rpartition("/")[2]
        new = _read(text)
        if new is None:
            yield _remark("workflow.unreadable", f"{file} is no YAML that could be read: nobody can say what it may do")
            continue
        old = _read(before.get(path, "")) or {}
        yield from _triggers_of(file, old, new)
        jobs, known = _jobs(new), _jobs(old)
        for name, job in jobs.items():
            yield from _rights(file, name, (old, new), (known.get(name, {}), job))
            yield from _failures(file, name, known.get(name, {}), job)
            yield from _code(file, name, known.get(name, {}), job)
            if name in known and any(_takes_roles(new, one) for one in jobs.values()):
                yield from _order(file, name, known, jobs)


def _triggers_of(file: str, old: Json, new: Json) -> Iterator[Remark]:
    was, now = _triggers(old), _triggers(new)
    for trigger in sorted((now.keys() - was.keys()) & set(OF_STRANGERS)):
        what = f"{file} runs on {trigger}: with the repository's rights, on what anybody may send"
        yield _remark("workflow.trigger", what)
    if not any(_takes_roles(new, job) for job in _jobs(new).values()):
        return
    for trigger in sorted(was.keys() & now.keys()):
        branches, more = ([str(one) for one in listed(side.get("branches"))] for side in (was[trigger], now[trigger]))
        if branches and (not more or set(more) - set(branches)):
            what = f"{file} ran on {trigger} to {', '.join(branches)}, and now to {', '.join(more) or 'every branch'}"
            yield _remark("workflow.trigger", f"{what}: it may take roles in the accounts")


def _rights(file: str, name: str, workflows: tuple[Json, Json], jobs: tuple[Json, Json]) -> Iterator[Remark]:
    (old, new), (was, job) = workflows, jobs
    bound, was_bound = _environment(job), _environment(was)
    if was_bound and bound != was_bound:
        now = f"waits for {bound}" if bound else "waits for nobody"
        yield _remark("workflow.approval_lost", f"{file}: job {name} waited for {was_bound}, and {now}")
    elif _takes_roles(new, job) and not bound and "uses" not in job and not (was and _takes_roles(old, was)):
        what = f"{file}: job {name} may take roles in the accounts (id-token: write) and waits for no environment"
        yield _remark("workflow.unbound", what)
    if _writes_all(new, job) and not (was and _writes_all(old, was)):
        yield _remark("workflow.writes_all", f"{file}: job {name} may write everything of the repository")
    given, was_given = _given(job), _given(was)
    if was and "uses" in job and given != was_given and _takes_roles(new, job):
        what = f"{file}: job {name} calls {quoted(job['uses'])} with {quoted(given)}, and did with {quoted(was_given)}"
        yield _remark("workflow.given", what)


def _given(job: Json) -> Json:
    """What a workflow that is called gets."""
    told = job.get("with")
    return told if isinstance(told, dict) else {}


def _failures(file: str, name: str, was: Json, job: Json) -> Iterator[Remark]:
    """A check that may fail is none."""
    known = [one for one in (was, *_steps(was)) if one.get("continue-on-error") not in (None, False)]
    now = [one for one in (job, *_steps(job)) if one.get("continue-on-error") not in (None, False)]
    if len(now) > len(known):
        yield _remark("workflow.failure_ignored", f"{file}: job {name} goes on where it fails (continue-on-error)")


def _code(file: str, name: str, was: Json, job: Json) -> Iterator[Remark]:
    """Code of others, which runs as it is on that day unless its digest is said."""
    known = {str(one.get("uses")) for one in (was, *_steps(was))}
    for used in dict.fromkeys(str(one["uses"]) for one in (job, *_steps(job)) if "uses" in one):
        if used not in known and not _PINNED.fullmatch(used):
            yield _remark("workflow.not_pinned", f"{file}: job {name} runs {used}, which is not pinned by its digest")


def _order(file: str, name: str, known: Mapping[str, Json], jobs: Mapping[str, Json]) -> Iterator[Remark]:
    """What a job of a workflow that deploys waits for, and on what condition it runs."""
    if lost := sorted(_waits_for(name, known) - _waits_for(name, jobs)):
        yield _remark("workflow.order_lost", f"{file}: job {name} waited for {', '.join(lost)}, and does not any more")
    was, now = ("" if (told := side[name].get("if")) is None else str(told) for side in (known, jobs))
    if was == now:
        return
    loose = not now or (_WHATEVER_FAILED.search(now) and not _WHATEVER_FAILED.search(was))
    rule = "workflow.condition_lost" if loose else "workflow.condition"
    what = f"{file}: job {name} runs if {quoted(now or 'all went well')}, and ran if {quoted(was or 'all went well')}"
    yield _remark(rule, what)


def _remark(rule: str, what: str) -> Remark:
    return Remark(rule=rule, environment="", stack="", what=what)


def _read(text: str) -> Json | None:
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # a date that is none; brackets without an end
        return None
    return found if isinstance(found, dict) else None


def _triggers(workflow: Json) -> dict[str, Json]:
    """What starts it, with its filters."""
    told = workflow.get("on", workflow.get(True))  # type: ignore[call-overload]  # YAML 1.1 reads `on` as true
    named = told if isinstance(told, dict) else {str(one): None for one in listed(told)}
    return {str(name): filters if isinstance(filters, dict) else {} for name, filters in named.items()}


def _jobs(workflow: Json) -> dict[str, Json]:
    jobs = workflow.get("jobs")
    return {str(name): job for name, job in jobs.items() if isinstance(job, dict)} if isinstance(jobs, dict) else {}


def _steps(job: Json) -> list[Json]:
    return [step for step in listed(job.get("steps")) if isinstance(step, dict)]


def _waits_for(name: str, jobs: Mapping[str, Json]) -> set[str]:
    """The jobs that have to be over before this one begins, those before these among them."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        needed = {str(one) for one in listed(jobs.get(ahead.pop(), {}).get("needs"))} - found
        found |= needed
        ahead += needed
    return found


def _environment(job: Json) -> str:
    """The environment of GitHub whose reviewers a job waits for."""
    told = job.get("environment", "")
    return str((told.get("name") or "") if isinstance(told, dict) else told or "")


def _permissions(workflow: Json, job: Json) -> Any:
    return job.get("permissions", workflow.get("permissions"))


def _takes_roles(workflow: Json, job: Json) -> bool:
    told = _permissions(workflow, job)
    return told == "write-all" or (isinstance(told, dict) and told.get("id-token") == "write")


def _writes_all(workflow: Json, job: Json) -> bool:
    return bool(_permissions(workflow, job) == "write-all")
