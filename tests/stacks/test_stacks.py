"""What the stacks hold: state whose identity never moves, alarms, endpoints, and who imports whom's values."""

from typing import Any

import pytest

from tests.stacks.synthesis import all_templates, manifests, only, resources, templates

ENVIRONMENTS = ("local", "dev", "staging", "prod")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_logical_ids_of_state_never_change_because_a_new_id_is_a_new_empty_resource(environment: str) -> None:
    storage, registry = templates()[f"{environment}/storage"], templates()[f"{environment}/registry"]
    assert set(resources(storage, "AWS::S3::Bucket")) == {
        "AccessLogBucketDA470295",
        "DataBucketE3889A50",
        "ArtifactBucket7410C9EF",
    }
    assert set(resources(storage, "AWS::KMS::Key")) == {"Key961B73FD"}
    assert set(resources(registry, "AWS::ECR::Repository")) == {"Repository22E53BBD"}
    assert set(resources(registry, "AWS::SageMaker::ModelPackageGroup")) == {"ModelPackageGroup"}


def test_stacks_with_state_are_protected_from_deletion_outside_this_machine() -> None:
    protected = {
        stack: entry["properties"].get("terminationProtection", False)
        for stack, entry in manifests().items()
        if stack.endswith(("/storage", "/registry"))
    }
    assert protected == {f"{env}/{stack}": env != "local" for env in ENVIRONMENTS for stack in ("storage", "registry")}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_release_that_fails_keeps_nobody_from_their_rights(environment: str) -> None:
    """A deployment of all stacks ends where one fails: people's come before the endpoint's."""
    stacks = {stack: entry for stack, entry in manifests().items() if stack.startswith(f"{environment}/")}
    ids = {entry["properties"]["templateFile"].removesuffix(".template.json"): stack for stack, entry in stacks.items()}
    needed = {ids[need] for need in stacks[f"{environment}/endpoint"]["dependencies"] if need in ids}
    assert f"{environment}/people" in needed


@pytest.mark.parametrize("service", ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"])
def test_what_rings_can_publish_to_the_encrypted_topic(service: str) -> None:
    template = templates()["prod/storage"]
    for policy, actions in (
        (only(template, "AWS::KMS::Key")["KeyPolicy"], {"kms:Decrypt", "kms:GenerateDataKey*"}),
        (only(template, "AWS::SNS::TopicPolicy")["PolicyDocument"], {"sns:Publish"}),
    ):
        [statement] = [s for s in policy["Statement"] if s["Principal"] == {"Service": service}]
        assert statement["Effect"] == "Allow"
        given = statement["Action"]
        assert set(given if isinstance(given, list) else [given]) == actions
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "333333333333"}}


PASSING = ("checkpoints", "captured", "async", "transform/amplify-prod/input")  # of use for a month


def life_cycles() -> dict[str, dict[str, dict[str, Any]]]:
    """By kind of bucket: rule id → rule."""
    buckets = resources(templates()["prod/storage"], "AWS::S3::Bucket")
    return {
        id_.split("Bucket")[0]: {rule["Id"]: rule for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]}
        for id_, bucket in buckets.items()
    }


def test_old_versions_of_proteins_and_models_go_after_a_quarter_and_those_of_passing_things_after_a_day() -> None:
    kept = {
        (bucket, rule.get("Prefix", "")): rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for bucket, rules in life_cycles().items()
        for rule in rules.values()
    }
    assert kept == {("AccessLog", ""): 1, ("Data", ""): 90, ("Artifact", ""): 90} | {
        ("Artifact", f"{prefix}/"): 1 for prefix in PASSING
    }


def test_only_access_logs_checkpoints_and_what_people_sent_ever_expire_while_they_are_current() -> None:
    expires = {
        (bucket, rule.get("Prefix", "")): rule["ExpirationInDays"]
        for bucket, rules in life_cycles().items()
        for rule in rules.values()
        if "ExpirationInDays" in rule
    }
    assert expires == {("AccessLog", ""): 365} | {("Artifact", f"{prefix}/"): 30 for prefix in PASSING}


def test_every_rule_clears_up_uploads_that_were_never_finished() -> None:
    for rules in life_cycles().values():
        for rule in rules.values():
            assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] <= 7


def alarms(stack: str, construct: str = "Alarms") -> dict[str, dict[str, Any]]:
    """By metric, those that tell a person; what rings to scale is another matter. An expression is its last metric."""
    found = resources(all_templates()[stack], "AWS::CloudWatch::Alarm")
    watched: dict[str, dict[str, Any]] = {}
    for id_, alarm in found.items():
        if id_.startswith(construct):
            properties = alarm["Properties"]
            for part in properties.get("Metrics", []):
                if metric := part.get("MetricStat", {}).get("Metric"):
                    watched[metric["MetricName"]] = properties | metric
            if "MetricName" in properties:
                watched[properties["MetricName"]] = properties
    return watched


def test_the_alarms_watch_the_endpoint_by_name_in_the_units_of_the_metric() -> None:
    watched = alarms("prod/endpoint")
    assert set(watched) == AT_ONCE | {"ConcurrentRequestsPerModel", "WrongAnswers"}
    assert watched["ModelLatency"]["Threshold"] == 2_000_000  # microseconds
    variant = only(templates()["prod/endpoint"], "AWS::SageMaker::EndpointConfig")["ProductionVariants"][0][
        "VariantName"
    ]
    golden = watched.pop("WrongAnswers")  # a metric of ours: whoever asks does not know which variant answered
    assert [one["Name"] for one in golden["Dimensions"]] == ["EndpointName"]
    for alarm in [*watched.values(), *alarms("prod/endpoint", "InstanceAlarms").values()]:
        dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
        assert dimensions == {"EndpointName": "amplify-prod", "VariantName": variant}


def test_bad_requests_are_watched_by_their_share_and_a_few_of_a_few_ring_nothing() -> None:
    [share] = [
        alarm["Properties"]
        for alarm in resources(templates()["prod/endpoint"], "AWS::CloudWatch::Alarm").values()
        if "Metrics" in alarm["Properties"]
    ]
    [expression] = [part["Expression"] for part in share["Metrics"] if "Expression" in part]
    assert expression == "IF(requests >= 20, 100 * refused / requests, 0)"
    assert share["Threshold"] == 20


def test_processors_are_watched_by_as_many_as_there_are_and_a_gpu_where_there_is_one() -> None:
    gpu, cpu = alarms("prod/endpoint", "InstanceAlarms"), alarms("local/endpoint", "InstanceAlarms")
    everywhere = {"CPUUtilization", "MemoryUtilization", "DiskUtilization"}
    assert set(cpu) == everywhere
    assert set(gpu) == everywhere | {"GPUUtilization", "GPUMemoryUtilization"}
    assert gpu["CPUUtilization"]["Threshold"] == 4 * 90  # four processors: SageMaker adds them up
    assert gpu["GPUUtilization"]["Threshold"] == 90
    assert set(alarms("modes/serverless", "InstanceAlarms")) == {"MemoryUtilization"}
    assert alarms("modes/batch", "InstanceAlarms") == {}


@pytest.mark.parametrize("environment", ["local", "dev"])
def test_a_failed_run_of_each_pipeline_rings(environment: str) -> None:
    watched = [
        alarm["Properties"]
        for alarm in resources(templates()[f"{environment}/training"], "AWS::CloudWatch::Alarm").values()
    ]
    failed = [one for one in watched if one.get("MetricName") == "ExecutionFailed"]
    assert {one["Dimensions"][0]["Value"] for one in failed} == {
        f"amplify-{environment}",
        f"amplify-{environment}-register",
    }
    assert {one["Namespace"] for one in failed} == {"AWS/Sagemaker/ModelBuildingPipeline"}


AT_ONCE = {"Invocation5XXErrors", "Invocation4XXErrors", "Invocations", "ModelLatency"}
OF_A_QUEUE = {
    *("Invocation5XXErrors", "InvocationFailures"),
    *("ApproximateAgeOfOldestRequest", "HasBacklogWithoutCapacity"),
}


@pytest.mark.parametrize(
    ("mode", "metrics", "dimensions"),
    [
        ("realtime", AT_ONCE | {"ConcurrentRequestsPerModel"}, {("EndpointName", "VariantName")}),
        ("async", OF_A_QUEUE, {("EndpointName", "VariantName"), ("EndpointName",)}),
        ("serverless", AT_ONCE | {"ServerlessConcurrentExecutionsUtilization"}, {("EndpointName", "VariantName")}),
        (
            "inference_components",
            AT_ONCE | {"ConcurrentRequestsPerCopy", "NoCapacityInvocationFailures"},
            {("InferenceComponentName",)},
        ),
        ("batch", set(), set()),
    ],
)
def test_a_mode_is_watched_by_the_metrics_that_sagemaker_writes_of_it(
    mode: str, metrics: set[str], dimensions: set[tuple[str, ...]]
) -> None:
    watched = alarms(f"modes/{mode}")
    assert set(watched) == metrics
    assert {tuple(one["Name"] for one in alarm["Dimensions"]) for alarm in watched.values()} == dimensions


def test_the_queue_is_watched_as_a_whole_and_its_requests_by_variant() -> None:
    watched = alarms("modes/async")
    assert [one["Name"] for one in watched["ApproximateAgeOfOldestRequest"]["Dimensions"]] == ["EndpointName"]
    assert watched["ApproximateAgeOfOldestRequest"]["Threshold"] == 60 * 60  # seconds


@pytest.mark.parametrize("stack", ["prod/endpoint", "modes/realtime", "modes/serverless", "modes/async"])
def test_one_lost_request_a_minute_rings_within_three_minutes(stack: str) -> None:
    errors = alarms(stack)["Invocation5XXErrors"]
    assert (errors["Threshold"], errors["Period"], errors["Statistic"]) == (1, 60, "Sum")
    assert (errors["DatapointsToAlarm"], errors["EvaluationPeriods"]) == (2, 3)


def test_a_queue_rings_for_failures_that_are_more_than_a_few_and_for_what_waits_with_nobody_to_work() -> None:
    watched = alarms("modes/async")
    assert (watched["InvocationFailures"]["Threshold"], watched["InvocationFailures"]["EvaluationPeriods"]) == (10, 2)
    waiting = watched["HasBacklogWithoutCapacity"]
    assert waiting["Period"] * waiting["EvaluationPeriods"] <= 20 * 60  # seconds: what the runbook says


@pytest.mark.parametrize("environment", ["local", "dev"])
def test_runs_are_looked_at_as_often_as_their_alarms_expect_news(environment: str) -> None:
    template = templates()[f"{environment}/training"]
    [schedule] = [
        one["Properties"]
        for id_, one in resources(template, "AWS::Scheduler::Schedule").items()
        if id_.startswith("RunWatch")
    ]
    minutes = int(schedule["ScheduleExpression"].removeprefix("rate(").split()[0])
    watched = alarms(f"{environment}/training", "RunWatch")
    for metric in ("OldestRunHours", "WaitingMinutes", "BrokenRules"):
        assert watched[metric]["Period"] == 60 * minutes


def test_of_a_queue_only_the_servers_own_errors_take_a_release_back() -> None:
    template = all_templates()["modes/async"]
    rollback = only(template, "AWS::SageMaker::Endpoint")["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    metrics = {template["Resources"][alarm["AlarmName"]["Ref"]]["Properties"]["MetricName"] for alarm in rollback}
    assert metrics == {"Invocation5XXErrors"}


def test_errors_latency_and_wrong_answers_take_a_release_back_and_bad_requests_do_not() -> None:
    template = templates()["prod/endpoint"]
    rollback = only(template, "AWS::SageMaker::Endpoint")["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    metrics = {template["Resources"][alarm["AlarmName"]["Ref"]]["Properties"]["MetricName"] for alarm in rollback}
    assert metrics == {"Invocation5XXErrors", "ModelLatency", "WrongAnswers"}


def test_a_fleet_of_one_has_no_canary_because_it_has_no_half() -> None:
    assert "DeploymentConfig" not in only(templates()["dev/endpoint"], "AWS::SageMaker::Endpoint")


def test_the_endpoint_serves_the_package_of_the_release() -> None:
    model = only(templates()["prod/endpoint"], "AWS::SageMaker::Model")
    assert model["PrimaryContainer"] == {
        "ModelPackageName": "arn:aws:sagemaker:us-east-1:333333333333:model-package/amplify-prod/7"
    }


def test_a_gpu_endpoint_names_the_machine_image_with_a_driver_for_its_cuda_and_a_cpu_endpoint_none() -> None:
    def machine_image(stack: str) -> str | None:
        [variant] = only(templates()[stack], "AWS::SageMaker::EndpointConfig")["ProductionVariants"]
        return variant.get("InferenceAmiVersion")

    assert machine_image("prod/endpoint") == "al2023-ami-sagemaker-inference-gpu-4-1"
    assert machine_image("local/endpoint") is None
