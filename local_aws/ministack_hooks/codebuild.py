"""Builds, and the projects of stacks that they are of."""

import time
from collections.abc import Callable
from typing import Any

from ministack.core import responses
from ministack.services import codebuild
from ministack.services.cloudformation import provisioners

from local_aws.errors import SageMakerError
from local_aws.ministack_hooks.cloudformation import Created, Properties


class Build:
    """A build that StartBuild began: what its project says, and what BatchGetBuilds will say of it."""

    def __init__(self, build_id: str, project: Properties) -> None:
        self.id = build_id
        self.role_arn = str(project["serviceRole"])
        self.variables = {one["name"]: one["value"] for one in project["environment"].get("environmentVariables", [])}
        self._record = codebuild._builds[build_id]
        self._record["logs"]["groupName"] = log_group_of(project)

    @property
    def log(self) -> tuple[str, str]:
        """Group and stream of its log."""
        return self._record["logs"]["groupName"], self._record["logs"]["streamName"]

    def begin(self, phase: str) -> None:
        """Such as PRE_BUILD. The phase before has succeeded."""
        self._end_phase("SUCCEEDED")
        self._record["phases"].append({"phaseType": phase, "startTime": int(time.time())})
        self._record["currentPhase"] = phase

    def end(self, failure: str | None = None) -> None:
        """The last phase has succeeded, or failed; and the build with it, unless somebody stopped it."""
        self._end_phase("SUCCEEDED" if failure is None else "FAILED")
        if failure is not None:
            self._record["phases"][-1]["contexts"] = [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": failure}]
        if not codebuild._stop_requested(self.id):
            codebuild._finish_build(self._record, "SUCCEEDED" if failure is None else "FAILED")
        codebuild._clear_stopped(self.id)

    def _end_phase(self, status: str) -> None:
        last = self._record["phases"][-1]
        if "endTime" not in last:
            last |= {"phaseStatus": status, "endTime": int(time.time())}


def refuse_builds(check: Callable[[Properties], None]) -> None:
    """Answer StartBuild with the SageMakerError that `check(request)` raises. ministack takes overrides, and does
    without them in silence."""
    start = codebuild._start_build

    def _start_build(request: Properties) -> Any:
        try:
            check(request)
        except SageMakerError as error:
            return responses.error_response_json(error.code, str(error), error.status)
        return start(request)

    codebuild._start_build = _start_build


def log_group_of(project: Properties) -> str:
    """The log group of a CodeBuild project: the one it names, else the one that CodeBuild would make."""
    named = project.get("logsConfig", {}).get("cloudWatchLogs", {}).get("groupName")
    return named or f"/aws/codebuild/{project['name']}"


def run_builds(carry_out: Callable[[Build], None]) -> None:
    """Have StartBuild answer with a build IN_PROGRESS and `carry_out` work on it, in a thread of its own.

    ministack would say that it has SUCCEEDED and do nothing. A project of a stack also keeps its LogsConfig, which
    ministack's CloudFormation drops.
    """

    def _execute_build(build_id: str, project: Properties) -> None:
        carry_out(Build(build_id, project))

    codebuild.EXECUTE_BUILDS = True
    codebuild._execute_build = _execute_build
    codebuild._get_docker = lambda: None  # StopBuild would look for a container

    handlers = provisioners._RESOURCE_HANDLERS["AWS::CodeBuild::Project"]
    create, update = handlers["create"], handlers["update"]

    def keep(made: Created, properties: Properties) -> Created:
        config = provisioners._codebuild_cfn_to_api(properties.get("LogsConfig", {}))
        codebuild._projects[made[0]]["logsConfig"] = config
        return made

    handlers.update(
        create=lambda logical_id, properties, stack: keep(create(logical_id, properties, stack), properties),
        update=lambda id_, old, new, stack: keep(update(id_, old, new, stack), new),
    )
