"""The role that CloudFormation provisions a stack with, as the CDK command line hands it over.

CloudFormation remembers it with the stack; whoever hands it over needs iam:PassRole, as for every role that a resource
of a stack hands on to a service.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local_aws import authorization, sessions
from local_aws.errors import SageMakerError
from local_aws.files import write_whole
from local_aws.ministack_hooks import iam
from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import account, region

SERVICE = "cloudformation.amazonaws.com"
# Type → (where a resource names a role, the service that it is for). SageMaker's are asked for by its own operations.
PASSED: dict[str, tuple[str, str]] = {
    "AWS::Lambda::Function": ("Role", "lambda.amazonaws.com"),
    "AWS::CodeBuild::Project": ("ServiceRole", "codebuild.amazonaws.com"),
    "AWS::Scheduler::Schedule": ("Target.RoleArn", "scheduler.amazonaws.com"),
    "AWS::Events::Rule": ("Targets.*.RoleArn", "events.amazonaws.com"),
    "AWS::EC2::FlowLog": ("DeliverLogsPermissionArn", "vpc-flow-logs.amazonaws.com"),
    "AWS::StepFunctions::StateMachine": ("RoleArn", "states.amazonaws.com"),
}


class StackRoles:
    """The roles of stacks, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._roles: dict[str, str] = json.loads(file.read_text()) if file.is_file() else {}

    def before_operation(self, stack: str, role: str, is_new: bool) -> str | None:
        """Go on under the stack's role, or the caller's own right where it has none. A text refuses the operation."""
        caller = iam.caller()
        if role:
            if account() != sessions.account_of(role):
                return "Cross-account pass role is not allowed."
            passing = iam.decide(caller, "iam:PassRole", role, {"iam:PassedToService": SERVICE})
            if not passing.allowed:
                return passing.message
        if role or is_new:
            self._remember(stack, role)
        role = self._roles.get(self._key(stack), "")
        if not role:
            authorization.go_on_as(caller)
            return None
        try:
            authorization.go_on_as(sessions.assume(role, SERVICE, "AWSCloudFormation").credentials.access_key)
        except SageMakerError:
            return f"Role {role} is invalid or cannot be assumed"
        return None

    def before_resource(self, type_name: str, properties: Properties) -> None:
        """Raises PermissionError where whoever provisions may not pass a role that the resource names."""
        caller = authorization.caller()
        if caller is None or type_name not in PASSED:
            return
        path, service = PASSED[type_name]
        for role in _at(properties, path.split(".")):
            passing = iam.decide(caller, "iam:PassRole", role, {"iam:PassedToService": service})
            if not passing.allowed:
                raise PermissionError(passing.message)

    def _remember(self, stack: str, role: str) -> None:
        with self._lock:
            self._roles[self._key(stack)] = role
            write_whole(self._file, json.dumps(self._roles, indent=1))

    def _key(self, stack: str) -> str:
        return f"{account()} {region()} {stack}"


def _at(value: Any, path: list[str]) -> Iterator[str]:
    if not path:
        yield str(value)
    elif path[0] == "*":
        for member in value if isinstance(value, list) else []:
            yield from _at(member, path[1:])
    elif isinstance(value, Mapping) and value.get(path[0]):
        yield from _at(value[path[0]], path[1:])
