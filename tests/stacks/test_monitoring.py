"""The monitoring stack: who hears, what is spent, and a drift job that may do its work and nothing else."""

import json
from typing import Any

import pytest

from environments import ENVIRONMENTS
from stacks.config import Drift
from stacks.config.monthly_cost import MOST_ALARM_METRICS
from stacks.constructs.drift_check import limits
from stacks.drift_definition import DriftSurroundings, drift_definition
from stacks.instance_types import vcpus
from stacks.vpc_config import VpcConfig
from tests.stacks import request_check
from tests.stacks.mode_examples import mode_templates
from tests.stacks.readable import plain
from tests.stacks.synthesis import all_templates, only, resources, templates
from tests.stacks.test_roles import may

WATCHED = "watched-prod/monitoring"


def watched() -> dict[str, Any]:
    return all_templates()[WATCHED]


def definition() -> dict[str, Any]:
    pipeline = only(watched(), "AWS::SageMaker::Pipeline")
    assert pipeline["PipelineName"] == "amplify-prod-drift"
    return plain(pipeline["PipelineDefinition"])["PipelineDefinitionBody"]


def test_every_address_hears_the_alarm_topic() -> None:
    subscription = only(watched(), "AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "on-call@example.org")
    assert "AlarmTopic" in str(subscription["TopicArn"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nobody_is_written_to_unless_the_settings_name_somebody(environment: str) -> None:
    assert resources(templates()[f"{environment}/monitoring"], "AWS::SNS::Subscription") == {}


def test_the_budget_rings_before_at_and_ahead_of_its_limit() -> None:
    budget = only(watched(), "AWS::Budgets::Budget")
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 5000, "Unit": "USD"}
    rings = budget["NotificationsWithSubscribers"]
    assert [(one["Notification"]["NotificationType"], one["Notification"]["Threshold"]) for one in rings] == [
        *(("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))
    ]
    assert all("AlarmTopic" in str(one["Subscribers"]) for one in rings)


def test_an_environment_without_capture_has_no_drift_job() -> None:
    assert resources(templates()["prod/monitoring"], "AWS::SageMaker::Pipeline") == {}


def test_the_drift_job_runs_the_image_and_the_model_of_the_release_in_the_network() -> None:
    [step] = definition()["Steps"]
    arguments = step["Arguments"]
    pin = json.loads(plain(json.dumps(arguments["AppSpecification"])))
    assert "@sha256:" in pin["ImageUri"]
    [model] = arguments["ProcessingInputs"]
    assert model["S3Input"]["S3Uri"].endswith("/output/model.tar.gz")
    assert arguments["NetworkConfig"]["VpcConfig"]["Subnets"]


@pytest.mark.parametrize("instance_type", ["ml.m5.xlarge", "ml.g5.xlarge"])
def test_sagemaker_would_take_the_job_with_a_volume_key_where_it_takes_one(instance_type: str) -> None:
    arn = "arn:aws:{}:us-east-1:111111111111:{}".format
    around = DriftSurroundings(
        image_uri=f"111111111111.dkr.ecr.us-east-1.amazonaws.com/amplify-dev@sha256:{'0' * 64}",
        model_uri="s3://artifacts/runs/a/model/output/model.tar.gz",
        captured_uri="s3://artifacts/captured/amplify-dev/model/",
        report_uri="s3://artifacts/drift/",
        endpoint_name="amplify-dev",
        metric_namespace="amplify/dev",
        role_arn="arn:aws:iam::111111111111:role/drift",
        key_arn=arn("kms", "key/0c8f7c2e-6f0b-4e38-8f6c-1f7c7c4d5a10"),
        tags={"project": "amplify", "environment": "dev"},
        vpc=VpcConfig(subnets=("subnet-0a", "subnet-0b"), security_group="sg-0a"),
    )
    [step] = drift_definition(Drift(instance_type=instance_type), around)["Steps"]
    arguments = step["Arguments"]
    assert request_check.faults("CreateProcessingJob", {"ProcessingJobName": "j", **arguments}) == []
    assert ("VolumeKmsKeyId" in arguments["ProcessingResources"]["ClusterConfig"]) == (instance_type == "ml.m5.xlarge")


def test_the_drift_job_reads_captured_requests_and_its_model_and_writes_its_report() -> None:
    assert may(WATCHED, "DriftRole", "s3:GetObject") == {
        "ArtifactBucket/captured/amplify-prod/model/*",
        "ArtifactBucket/runs/k3x9q2m7w1ab/model/pipelines-k3x9q2m7w1ab-Train-Yk2pQ0dV1s/output/model.tar.gz",
    }
    assert may(WATCHED, "DriftRole", "s3:PutObject") == {"ArtifactBucket/drift/*"}
    assert may(WATCHED, "DriftRole", "iam:PassRole") == set()


def test_it_sends_metrics_into_its_own_namespace_only() -> None:
    bound = [
        statement["Condition"]["StringEquals"]["cloudwatch:namespace"]
        for policy in resources(watched(), "AWS::IAM::Policy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Action"] == "cloudwatch:PutMetricData"
    ]
    assert bound == ["/aws/sagemaker/ProcessingJobs", "amplify/prod"]


def test_the_schedule_may_start_this_one_pipeline_and_the_pipeline_pass_this_one_role() -> None:
    arn = "arn:aws:sagemaker:us-east-1:333333333333:pipeline/amplify-prod-drift"
    assert may(WATCHED, "DriftScheduleRole", "sagemaker:StartPipelineExecution") == {arn}
    [passed] = may(WATCHED, "DriftPipelineRole", "iam:PassRole")
    assert passed.startswith("${DriftRole")
    schedule = only(watched(), "AWS::Scheduler::Schedule")
    assert schedule["ScheduleExpression"] == "rate(24 hours)"
    assert plain(schedule["Target"]["Arn"]).replace("${AWS::Partition}", "aws") == arn


def test_each_limit_has_an_alarm_that_keeps_its_state_between_two_runs() -> None:
    alarms = {
        alarm["Properties"]["MetricName"]: alarm["Properties"]
        for alarm in resources(watched(), "AWS::CloudWatch::Alarm").values()
    }
    for metric, (limit, _) in limits(Drift()).items():
        assert alarms[metric]["Threshold"] == limit
        assert alarms[metric]["TreatMissingData"] == "ignore"
        assert alarms[metric]["Namespace"] == "amplify/prod"
    assert {"BrokenShare", "ExecutionFailed", "TargetErrorCount"} <= set(alarms)


def test_no_environment_has_more_alarms_than_its_cost_reckons_with() -> None:
    counts: dict[str, int] = {}
    for stack, template in (all_templates() | mode_templates()).items():
        environment = stack if stack.startswith("modes/") else stack.split("/")[0]
        for alarm in resources(template, "AWS::CloudWatch::Alarm").values():
            metrics = [one for one in alarm["Properties"].get("Metrics", [{}]) if "Expression" not in one]
            counts[environment] = counts.get(environment, 0) + len(metrics)
    assert max(counts.values()) <= MOST_ALARM_METRICS, counts


def dashboard(stack: str) -> dict[str, Any]:
    return plain(only(all_templates()[stack], "AWS::CloudWatch::Dashboard"))


def titles(stack: str) -> set[str]:
    return {w["properties"]["title"] for w in dashboard(stack)["DashboardBody"]["widgets"] if w["type"] == "metric"}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_page_shows_what_the_environment_has(environment: str) -> None:
    shown = titles(f"{environment}/monitoring")
    assert dashboard(f"{environment}/monitoring")["DashboardName"] == f"amplify-{environment}"
    assert {"Requests and refusals, a minute", "Latency, microseconds", "Estimated charges"} <= shown
    assert ("Loss, nats a residue" in shown) == (ENVIRONMENTS[environment].training is not None)
    assert "LengthShift" not in shown


def test_the_page_shows_drift_beside_its_limits() -> None:
    assert set(limits(Drift())) <= titles(WATCHED)


@pytest.mark.parametrize(
    ("instance_type", "count"),
    [("ml.t2.medium", 2), ("ml.m5.large", 2), ("ml.m5.xlarge", 4), ("ml.g5.12xlarge", 48), ("ml.c4.8xlarge", 36)],
)
def test_a_types_processors_are_known_by_its_size(instance_type: str, count: int) -> None:
    assert vcpus(instance_type) == count


def test_a_size_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="give medium, large or <number>xlarge"):
        vcpus("ml.m5.metal")
