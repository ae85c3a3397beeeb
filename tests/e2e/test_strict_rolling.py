"""A release that is taken back half-way, under IAM: old instances that had gone come back, and read the old model."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from local_aws.processes import wait_until
from tests.e2e.conftest import LEARNING, Trap
from tests.e2e.strict_project import walked

pytestmark = [pytest.mark.e2e, pytest.mark.proof]
NAME = "amplify-local"


def test_a_rolling_release_that_is_taken_back_answers_as_before_and_nobody_was_refused(
    tmp_path: Path, trap: Trap
) -> None:
    with walked(tmp_path, trap, "rolling") as project:
        sagemaker, cloudwatch = project.aws("sagemaker"), project.aws("cloudwatch")

        def described() -> dict[str, Any]:
            found: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=NAME)
            return found

        def an_old_instance_has_gone() -> bool:
            variants = described().get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])
            return (
                variants[0].get("CurrentInstanceCount") == 2 and variants[0]["VariantStatus"][0]["Status"] == "Baking"
            )

        before = described()["EndpointConfigName"]
        answer = project.by("invoker").amplify("perplexity", "new.fasta")
        project.by("trainer").amplify("train", *LEARNING, "--set", "seed=7", "--watch")
        project.by("approver").amplify("approve", "--yes")
        [alarm] = [
            one["AlarmName"]
            for one in cloudwatch.describe_alarms()["MetricAlarms"]
            if "ServerErrors" in one["AlarmName"] and "Instance" not in one["AlarmName"]
        ]
        with ThreadPoolExecutor(1) as pool:
            deployment = pool.submit(project.by("deployer").amplify, "deploy", fails=True, seconds=1_500)
            assert wait_until(an_old_instance_has_gone, 600)
            cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a test")
            told = deployment.result()
        assert "is in ALARM" in told
        endpoint = described()
        assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", before)
        assert endpoint["ProductionVariants"][0]["CurrentInstanceCount"] == 2
        assert project.by("invoker").amplify("perplexity", "new.fasta") == answer
        assert [call for call in project.calls() if not call["allowed"] and "ModelEndpoint" in str(call)] == []
        reads = [call for call in project.calls() if call["action"] == "s3:GetObject" and "endpoint-Role" in str(call)]
        assert reads
        assert all(call["allowed"] for call in reads)
