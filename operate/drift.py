"""Whether somebody changed by hand what was deployed: CloudFormation's own drift detection, stack by stack.

Not `cdk drift`: that says nothing where a resource could not be looked at, for want of a right say, and ends with 0.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-drift.html
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from operate import deployment
from operate.aws import Aws
from operate.errors import OperateError

LIMIT_S = 600.0
"""For all stacks together. CloudFormation speaks of several minutes for a large one."""
PAUSE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One resource that is not as it was deployed, or that nobody could look at."""

    stack: str
    resource: str
    """Its logical id; empty where the whole stack is meant."""
    type: str
    status: str
    """MODIFIED, DELETED, or UNKNOWN: not looked at."""
    details: tuple[str, ...]
    """`property: expected → found`, or the reason."""

    @property
    def is_drift(self) -> bool:
        return self.status in ("MODIFIED", "DELETED")

    def as_json(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "resource": self.resource,
            "type": self.type,
            "status": self.status,
            "details": list(self.details),
        }


@dataclass(frozen=True, kw_only=True)
class Drift:
    """What was found in the deployed stacks of an environment."""

    stacks: tuple[str, ...]
    in_sync: int
    """Resources that are as they were deployed. Types that CloudFormation cannot look at are in no count."""
    findings: tuple[Finding, ...]

    @property
    def summary(self) -> str:
        drifted = sum(finding.is_drift for finding in self.findings)
        return (
            f"stacks {len(self.stacks)} in sync {self.in_sync} drifted {drifted} "
            f"not looked at {len(self.findings) - drifted}"
        )


def detect(aws: Aws, show: Callable[[str], None], *, limit_s: float = LIMIT_S) -> Drift:
    """Look at every deployed stack of the environment. Raises OperateError where there is none, where one cannot be
    looked at while it is being deployed, or where CloudFormation takes longer than `limit_s`."""
    cloudformation = aws.client("cloudformation")
    stacks = deployment.stacks(aws)
    if not stacks:
        name = aws.environment.name
        raise OperateError(f"Nothing of {name} is deployed.", todo=f"`amplify deploy --env {name}` does it.")
    if busy := [f"{stack.name} is {stack.status}" for stack in stacks if stack.status.endswith("_IN_PROGRESS")]:
        raise OperateError(f"Somebody deploys: {', '.join(busy)}.", todo="Wait for its end, and look then.")
    begun = {
        stack.name: cloudformation.detect_stack_drift(StackName=stack.name)["StackDriftDetectionId"] for stack in stacks
    }
    findings: list[Finding] = []
    in_sync = 0
    give_up = time.monotonic() + limit_s
    for name, detection in begun.items():
        show(name)
        end = _ended(cloudformation, detection, give_up, name)
        if end["DetectionStatus"] == "DETECTION_FAILED":
            reason = end.get("DetectionStatusReason", "CloudFormation gives no reason")
            findings.append(Finding(stack=name, resource="", type="", status="UNKNOWN", details=(reason,)))
        for one in _resources(cloudformation, name):
            in_sync += one["StackResourceDriftStatus"] == "IN_SYNC"
            findings += _finding(name, one)
    return Drift(stacks=tuple(begun), in_sync=in_sync, findings=tuple(findings))


def _ended(cloudformation: Any, detection: str, give_up: float, stack: str) -> dict[str, Any]:
    while True:
        status = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
        if status["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            return status
        if time.monotonic() > give_up:
            raise OperateError(
                f"CloudFormation still looks for drift of {stack}.", todo="It takes longer than usual: try again later."
            )
        time.sleep(PAUSE_S)


def _resources(cloudformation: Any, stack: str) -> Iterator[dict[str, Any]]:
    more: dict[str, str] = {}
    while True:
        page = cloudformation.describe_stack_resource_drifts(StackName=stack, **more)
        yield from page["StackResourceDrifts"]
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def _finding(stack: str, one: dict[str, Any]) -> Iterator[Finding]:
    status = one["StackResourceDriftStatus"]
    if status not in ("MODIFIED", "DELETED", "UNKNOWN"):
        return
    details = [
        f"{change['PropertyPath']}: {change.get('ExpectedValue', 'nothing')} → {change.get('ActualValue', 'nothing')}"
        for change in one.get("PropertyDifferences", [])
    ]
    if reason := one.get("DriftStatusReason"):
        details.append(reason)
    yield Finding(
        stack=stack,
        resource=one["LogicalResourceId"],
        type=one["ResourceType"],
        status=status,
        details=tuple(details),
    )
