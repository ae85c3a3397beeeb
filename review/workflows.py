"""What workflows may do without anybody's yes: approvals that are lost, rights that come without one, new triggers."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from review.remarks import Remark

Json = dict[str, Any]
OF_STRANGERS = ("pull_request_target", "workflow_run", "issue_comment", "issues")
"""Triggers that run with the repository's own rights on what anybody may send."""


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
        for trigger in sorted((_triggers(new) - _triggers(old)) & set(OF_STRANGERS)):
            what = f"{file} runs on {trigger}: with the repository's rights, on what anybody may send"
            yield _remark("workflow.trigger", what)
        jobs, known = _jobs(new), _jobs(old)
        for name, job in jobs.items():
            was = known.get(name, {})
            bound, was_bound = _environment(job), _environment(was)
            if was_bound and bound != was_bound:
                now = f"waits for {bound}" if bound else "waits for nobody"
                yield _remark("workflow.approval_lost", f"{file}: job {name} waited for {was_bound}, and {now}")
            elif _takes_roles(new, job) and not bound and "uses" not in job and not (was and _takes_roles(old, was)):
                what = (
                    f"{file}: job {name} may take roles in the accounts (id-token: write) and waits for no environment"
                )
                yield _remark("workflow.unbound", what)
            if _writes_all(new, job) and not (was and _writes_all(old, was)):
                yield _remark("workflow.writes_all", f"{file}: job {name} may write everything of the repository")


def _remark(rule: str, what: str) -> Remark:
    return Remark(rule=rule, environment="", stack="", what=what)


def _read(text: str) -> Json | None:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return found if isinstance(found, dict) else None


def _triggers(workflow: Json) -> set[str]:
    told = workflow.get("on", workflow.get(True))  # type: ignore[call-overload]  # YAML 1.1 reads `on` as true
    return {told} if isinstance(told, str) else {str(one) for one in told or ()}


def _jobs(workflow: Json) -> dict[str, Json]:
    jobs = workflow.get("jobs")
    return {str(name): job for name, job in jobs.items() if isinstance(job, dict)} if isinstance(jobs, dict) else {}


def _environment(job: Json) -> str:
    """The environment of GitHub whose reviewers a job waits for."""
    told = job.get("environment", "")
    return str(told.get("name", "") if isinstance(told, dict) else told)


def _permissions(workflow: Json, job: Json) -> Any:
    return job.get("permissions", workflow.get("permissions"))


def _takes_roles(workflow: Json, job: Json) -> bool:
    told = _permissions(workflow, job)
    return told == "write-all" or (isinstance(told, dict) and told.get("id-token") == "write")


def _writes_all(workflow: Json, job: Json) -> bool:
    return bool(_permissions(workflow, job) == "write-all")
