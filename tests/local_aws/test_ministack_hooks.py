"""One test for each private name of ministack that `ministack_patches` uses: a new version of ministack fails here,
by name, before it fails anywhere else in a way that nobody understands."""

import asyncio
import importlib.metadata
import json
import threading
import time
from datetime import UTC, datetime

import httpx
import pytest

from local_aws import ministack_patches, ministack_stacks, persistence
from local_aws.processes import wait_until

SIGNED = "AWS4-HMAC-SHA256 Credential=222222222222/20260101/eu-west-1/{}/aws4_request, SignedHeaders=host, Signature=0"
FOLLOWED = {
    "_deploy_stack_async",
    "_delete_stack_async",
    "_roll_back_operation",
    "_resolve_stack_outputs",
    "_provision_resource",
    "_update_resource",
}


@pytest.fixture
def ministack(monkeypatch):
    """ministack's application in this process, with its tables as they were after the test."""
    app, router = ministack_patches.ministack, ministack_patches.router
    monkeypatch.setattr(app, "SERVICE_HANDLERS", dict(app.SERVICE_HANDLERS))
    monkeypatch.setattr(router, "SERVICE_PATTERNS", dict(router.SERVICE_PATTERNS))
    provisioners, stacks = ministack_patches.provisioners, ministack_patches.stacks
    handlers = {name: dict(handler) for name, handler in provisioners._RESOURCE_HANDLERS.items()}
    kept = dict(provisioners._RESOURCE_HANDLERS)
    provisioners._RESOURCE_HANDLERS.update(handlers)  # others imported the very dictionary
    monkeypatch.setattr(stacks, "_runs_on_worker_thread", stacks._runs_on_worker_thread)
    for module in (stacks, ministack_stacks.handlers, ministack_stacks.changesets):
        for hook in FOLLOWED & vars(module).keys():
            monkeypatch.setattr(module, hook, getattr(module, hook))
    yield app
    provisioners._RESOURCE_HANDLERS.clear()
    provisioners._RESOURCE_HANDLERS.update(kept)


def request(app, service, path, content=b"", **headers):
    async def call():
        transport = httpx.ASGITransport(app=app.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(
                path, content=content, headers={"authorization": SIGNED.format(service), **headers}
            )

    return asyncio.run(call())


def call_cloudformation(app, action, *, review_is_an_end=False, **parameters):
    """A call of CloudFormation's query API, and time for the stack to be worked on."""

    async def call():
        transport = httpx.ASGITransport(app=app.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {"authorization": SIGNED.format("cloudformation")}
            await client.post("/", data={"Action": action, **parameters}, headers=headers)
            for _ in range(200):
                await asyncio.sleep(0.01)
                found = await client.post("/", data={"Action": "DescribeStacks"}, headers=headers)
                seen = found.text.replace("REVIEW_IN_PROGRESS", "") if review_is_an_end else found.text
                if "IN_PROGRESS" not in seen:
                    return found.text
            raise AssertionError(found.text)

    return asyncio.run(call())


def template(kind, **properties):
    return json.dumps({"Resources": {"Thing": {"Type": kind, "Properties": properties}}})


def test_it_is_the_version_that_the_hooks_were_made_for():
    assert importlib.metadata.version("ministack") == "1.5.33"


def test_control_plane_requests_reach_our_handler_with_their_account_and_region(ministack):
    seen = []

    async def handle(method, path, headers, body, query):
        seen.append(
            (method, path, headers["x-amz-target"], body, ministack_patches.account(), ministack_patches.region())
        )
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, b"{}"

    ministack_patches.route_sagemaker(handle)
    answer = request(ministack, "sagemaker", "/", b'{"A": 1}', **{"x-amz-target": "SageMaker.ListModels"})
    assert answer.status_code == 200
    assert seen == [("POST", "/", "SageMaker.ListModels", b'{"A": 1}', "222222222222", "eu-west-1")]


@pytest.mark.parametrize("status", [200, 424])
def test_a_models_answer_keeps_its_own_content_type_and_bytes(ministack, status):
    async def handle(method, path, headers, body, query):
        return status, {"Content-Type": "application/json; charset=latin-1"}, b"\x00" + body

    ministack_patches.route_sagemaker(handle)
    answer = request(ministack, "sagemaker", "/endpoints/amplify-local/invocations", b"MKV")
    assert answer.status_code == status
    assert answer.content == b"\x00MKV"
    assert answer.headers["content-type"] == "application/json; charset=latin-1"


def test_a_bucket_called_endpoints_is_still_s3s(ministack):
    async def handle(method, path, headers, body, query):
        raise AssertionError("not for SageMaker")

    ministack_patches.route_sagemaker(handle)
    assert "NoSuchBucket" in request(ministack, "s3", "/endpoints/key?uploads").text


def test_a_request_scope_is_that_of_the_code_inside_it():
    with ministack_patches.request_scope("333333333333", "eu-central-1"):
        assert (ministack_patches.account(), ministack_patches.region()) == ("333333333333", "eu-central-1")


def test_cloudformation_refuses_a_type_until_it_is_added_and_then_creates_updates_and_deletes_it(ministack):
    calls = []

    def create(logical, properties, stack):
        calls.append(("create", logical, properties, stack, ministack_patches.account(), ministack_patches.region()))
        return ministack_patches.physical_name(stack, logical), {"Arn": "arn"}

    def update(physical, old, new, stack, logical):
        calls.append(("update", old, new, logical))
        return physical, {"Arn": "arn"}

    def delete(physical, properties):
        calls.append(("delete", physical))

    stack = {"StackName": "hooks", "TemplateBody": template("AWS::SageMaker::Hook", A="1")}
    call_cloudformation(ministack, "CreateStack", **stack)
    assert calls == []
    ministack_patches.add_resource_type("AWS::SageMaker::Hook", create=create, update=update, delete=delete)
    ministack_patches.run_in_threads()
    assert "CREATE_COMPLETE" in call_cloudformation(ministack, "CreateStack", **stack)
    call_cloudformation(
        ministack, "UpdateStack", StackName="hooks", TemplateBody=template("AWS::SageMaker::Hook", A="2")
    )
    call_cloudformation(ministack, "DeleteStack", StackName="hooks")
    assert [call[0] for call in calls] == ["create", "update", "delete"]
    assert calls[0][1:] == ("Thing", {"A": "1"}, "hooks", "222222222222", "eu-west-1")
    assert calls[1][1:] == ({"A": "1"}, {"A": "2"}, "Thing")
    assert calls[2][1].startswith("hooks-Thing-")


def test_our_types_are_provisioned_beside_the_event_loop(ministack):
    threads = []

    def create(logical, properties, stack):
        threads.append(threading.current_thread())
        return "id", {}

    ministack_patches.add_resource_type(
        "AWS::SageMaker::Hook", create=create, update=lambda *_: ("id", {}), delete=lambda *_: None
    )
    ministack_patches.run_in_threads()
    call_cloudformation(ministack, "CreateStack", StackName="threads", TemplateBody=template("AWS::SageMaker::Hook"))
    assert threads
    assert threads[0] is not threading.main_thread()


def test_a_generated_name_is_stable_and_fits():
    name = ministack_patches.physical_name("amplify-local-endpoint", "Model" * 20)
    assert name == ministack_patches.physical_name("amplify-local-endpoint", "Model" * 20)
    assert name != ministack_patches.physical_name("amplify-local-endpoint", "Other")
    assert len(name) <= 63


def test_buckets_of_stacks_pass_through_our_hands(ministack):
    applied, deleted = [], []
    ministack_patches.wrap_bucket(
        lambda name, old, new: applied.append((name, old, new)), lambda name, _: deleted.append(name)
    )
    for version in ("1", "2"):
        call_cloudformation(
            ministack,
            "CreateStack" if version == "1" else "UpdateStack",
            StackName="bucket",
            TemplateBody=template("AWS::S3::Bucket", BucketName="hook-bucket", Tags=[{"Key": "v", "Value": version}]),
        )
    call_cloudformation(ministack, "DeleteStack", StackName="bucket")
    assert [(name, bool(old), new["Tags"][0]["Value"]) for name, old, new in applied] == [
        ("hook-bucket", False, "1"),
        ("hook-bucket", True, "2"),
    ]
    assert deleted == ["hook-bucket"]


class Follower:
    """Remembers what it was told, with the state of the stack at that moment."""

    def __init__(self):
        self.told = []

    def begun(self, stack):
        self.told.append(("begun", stack["StackStatus"]))

    def touches(self, stack, logical_id, kind, new):
        self.told.append(("touches", logical_id, new["A"]))

    def provisioned(self, stack):
        self.told.append(("provisioned", stack["StackStatus"]))

    def ended(self, stack):
        self.told.append(("ended", stack["StackStatus"], ministack_stacks.OPERATION in stack))


def failing(value, made):
    """A type whose creation and update fail for one value of A."""

    def make(_logical, properties, _stack):
        if properties["A"] == value:
            raise ValueError(f"no {value}")
        return "id", {}

    def update(physical, old, new, stack, logical):
        return make(logical, new, stack)

    ministack_patches.add_resource_type(
        "AWS::SageMaker::Hook", create=make, update=update, delete=lambda physical, _: made.append(physical)
    )
    ministack_patches.run_in_threads()


def test_every_moment_of_a_stacks_operations_is_told_before_anybody_can_see_it(ministack):
    follower = Follower()
    failing("bad", [])
    ministack_stacks.follow(follower)
    for action, value in (("CreateStack", "1"), ("UpdateStack", "2"), ("UpdateStack", "bad"), ("DeleteStack", None)):
        body = {} if value is None else {"TemplateBody": template("AWS::SageMaker::Hook", A=value)}
        call_cloudformation(ministack, action, StackName="followed", **body)
    assert follower.told == [
        ("begun", "CREATE_IN_PROGRESS"),
        ("touches", "Thing", "1"),
        ("ended", "CREATE_COMPLETE", False),
        ("begun", "UPDATE_IN_PROGRESS"),
        ("touches", "Thing", "2"),
        ("provisioned", "UPDATE_IN_PROGRESS"),
        ("ended", "UPDATE_COMPLETE", False),
        ("begun", "UPDATE_IN_PROGRESS"),
        ("touches", "Thing", "bad"),
        ("ended", "UPDATE_ROLLBACK_COMPLETE", False),
        ("begun", "DELETE_IN_PROGRESS"),
        ("ended", "DELETE_COMPLETE", False),
    ]


def test_an_executed_change_set_is_told_too(ministack):
    follower = Follower()
    failing("bad", [])
    ministack_stacks.follow(follower)
    body = template("AWS::SageMaker::Hook", A="1")
    given = {"StackName": "changed", "ChangeSetName": "c"}
    call_cloudformation(
        ministack, "CreateChangeSet", **given, ChangeSetType="CREATE", TemplateBody=body, review_is_an_end=True
    )
    assert follower.told == []
    call_cloudformation(ministack, "ExecuteChangeSet", **given)
    assert [told[0] for told in follower.told] == ["begun", "touches", "ended"]


def test_a_failed_stack_that_is_told_to_roll_back_is_told_too(ministack):
    follower = Follower()
    failing("bad", [])
    body = template("AWS::SageMaker::Hook", A="bad")
    call_cloudformation(ministack, "CreateStack", StackName="rolled", TemplateBody=body, DisableRollback="true")
    ministack_stacks.follow(follower)
    assert "ROLLBACK_COMPLETE" in call_cloudformation(ministack, "RollbackStack", StackName="rolled")
    assert [told[0] for told in follower.told] == ["begun", "ended"]


def test_a_stack_in_the_midst_of_its_work_is_found_and_can_be_rolled_back(ministack):
    deleted = []
    failing("bad", deleted)
    ministack_stacks.follow(Follower())
    body = template("AWS::SageMaker::Hook", A="1")
    call_cloudformation(ministack, "CreateStack", StackName="midst", TemplateBody=body)
    with ministack_stacks.scope_of("222222222222", "eu-west-1"):
        stack = ministack_stacks.engine._stacks["midst"]
        stack["StackStatus"] = "CREATE_IN_PROGRESS"
        assert ("222222222222", "eu-west-1", stack) in ministack_stacks.unfinished()
        asyncio.run(ministack_stacks.roll_back(stack, "why"))
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert stack not in [found for _, _, found in ministack_stacks.unfinished()]
    assert deleted == ["id"]


def test_a_services_tables_are_read_again_as_they_were_written(ministack, tmp_path, monkeypatch):
    request(ministack, "sqs", "/", b'{"QueueName": "kept"}', **{"x-amz-target": "AmazonSQS.CreateQueue"})
    tables = persistence._copies()["sqs"]
    (tmp_path / "sqs.json").write_text(ministack_patches.encode("sqs", tables))
    monkeypatch.setattr(ministack_patches.persistence, "PERSIST_STATE", True)
    monkeypatch.setattr(ministack_patches.persistence, "STATE_DIR", str(tmp_path))
    loaded = ministack_patches.persistence.load_state("sqs")
    assert ministack_patches.encode("sqs", loaded) == ministack_patches.encode("sqs", tables)
    assert "kept" in ministack_patches.encode("sqs", loaded)


def test_s3_resolves_a_writes_encryption_where_we_complete_it(ministack, monkeypatch):
    s3 = ministack_patches.s3
    monkeypatch.setattr(s3, "_resolve_sse_write_headers", s3._resolve_sse_write_headers)
    asked = {"x-amz-server-side-encryption": "aws:kms"}
    _, refusal = s3._resolve_sse_write_headers(asked, "bucket")
    assert refusal, "ministack has its own answer now: the hook can go"
    ministack_patches.encrypt_with_the_buckets_key()
    with ministack_patches.request_scope("222222222222", "eu-west-1"):
        headers, refusal = s3._resolve_sse_write_headers(asked, "bucket")
    assert refusal is None
    key = headers["x-amz-server-side-encryption-aws-kms-key-id"]
    assert key == "arn:aws:kms:eu-west-1:222222222222:alias/aws/s3"


@pytest.fixture
def cloudwatch(ministack, monkeypatch):
    """ministack's CloudWatch, empty, with its functions as they were after the test."""
    del ministack
    cloudwatch, provisioners = ministack_patches.cloudwatch, ministack_patches.provisioners
    for module, name in (
        (cloudwatch, "_evaluate_alarm"),
        (cloudwatch, "_put_metric_alarm"),
        (cloudwatch, "get_state"),
        (cloudwatch, "_metrics"),
        (provisioners, "_cw_metric_alarm_record"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    cloudwatch.reset()
    with ministack_patches.request_scope("222222222222", "eu-west-1"):
        yield cloudwatch
    cloudwatch.reset()


def call_cloudwatch(app, operation, **body):
    headers = {
        "x-amz-target": f"GraniteServiceVersion20100801.{operation}",
        "content-type": "application/x-amz-json-1.0",
    }
    return request(app, "monitoring", "/", json.dumps(body).encode(), **headers)


def test_every_evaluation_of_an_alarm_is_ours(ministack, cloudwatch):
    evaluated = []
    ministack_patches.evaluate_alarms_with(
        lambda alarm: evaluated.append((alarm["AlarmName"], ministack_patches.region()))
    )
    about = {"Namespace": "N", "MetricName": "M", "Threshold": 1, "EvaluationPeriods": 1}
    call_cloudwatch(ministack, "PutMetricAlarm", AlarmName="a", ComparisonOperator="GreaterThanThreshold", **about)
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=[{"MetricName": "M", "Value": 1}])
    ministack_patches.evaluate_all_alarms()
    assert evaluated == [("a", "eu-west-1")] * 3
    del cloudwatch


def test_a_metrics_points_and_their_statistics_are_read_by_its_dimensions(ministack, cloudwatch):
    del cloudwatch
    data = [
        {
            "MetricName": "M",
            "Values": [1, 3],
            "Counts": [1, 3],
            "Unit": "Count",
            "Dimensions": [{"Name": "D", "Value": "x"}],
        },
        {"MetricName": "M", "Value": 9, "Dimensions": [{"Name": "D", "Value": "y"}]},
    ]
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=data)
    points = ministack_patches.metric_points("N", "M", {"D": "x"})
    assert {point["Unit"] for point in points} == {"Count"}
    assert all(abs(point["Timestamp"] - time.time()) < 60 for point in points)
    values = {name: ministack_patches.statistic(points, name) for name in ("SampleCount", "Sum", "Average", "p50")}
    assert values == {"SampleCount": 4, "Sum": 10, "Average": 2.5, "p50": 3}
    assert ministack_patches.statistic([], "Sum") is None


def test_an_alarms_new_state_is_in_its_history_and_rings_at_its_parents(ministack, cloudwatch):
    about = {"Namespace": "N", "MetricName": "M", "Threshold": 1, "EvaluationPeriods": 1}
    call_cloudwatch(ministack, "PutMetricAlarm", AlarmName="a", ComparisonOperator="GreaterThanThreshold", **about)
    call_cloudwatch(ministack, "PutCompositeAlarm", AlarmName="all", AlarmRule="ALARM(a)")
    ministack_patches.set_alarm_state(cloudwatch._alarms["a"], "ALARM", "because")
    found = call_cloudwatch(ministack, "DescribeAlarms", AlarmTypes=["MetricAlarm", "CompositeAlarm"]).json()
    states = {
        alarm["AlarmName"]: alarm["StateValue"] for kind in ("MetricAlarms", "CompositeAlarms") for alarm in found[kind]
    }
    assert states == {"a": "ALARM", "all": "ALARM"}
    history = call_cloudwatch(ministack, "DescribeAlarmHistory", AlarmName="a").json()["AlarmHistoryItems"]
    assert any("from INSUFFICIENT_DATA to ALARM" in item["HistorySummary"] for item in history)


def test_metric_math_is_kept_by_the_api_and_by_cloudformation(ministack, cloudwatch):
    metrics = [{"Id": "m", "Expression": "1 + 1", "ReturnData": True}]
    rest = {"Threshold": 1, "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}
    ministack_patches.evaluate_alarms_with(lambda _: None)
    ministack_patches.keep_metric_math()
    call_cloudwatch(ministack, "PutMetricAlarm", AlarmName="api", Metrics=metrics, **rest)
    properties = {"AlarmName": "stack", "Metrics": metrics, **rest}
    body = template("AWS::CloudWatch::Alarm", **properties)
    call_cloudformation(ministack, "CreateStack", StackName="math", TemplateBody=body)
    assert {name: cloudwatch._alarms[name]["Metrics"] for name in ("api", "stack")} == {
        "api": metrics,
        "stack": metrics,
    }
    assert "MetricName" not in cloudwatch._alarms["stack"]


def test_metrics_are_copied_whole_and_read_again(ministack, cloudwatch):
    ministack_patches.copy_metrics_quickly()
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=[{"MetricName": "M", "Value": 7}])
    state = cloudwatch.get_state()
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=[{"MetricName": "M", "Value": 8}])
    text = ministack_patches.encode("cloudwatch", state)
    assert '"Value": 7' in text
    assert '"Value": 8' not in text
    assert [point["Value"] for point in ministack_patches.metric_points("N", "M", {})] == [7, 8]
    cloudwatch.reset()
    cloudwatch.load_persisted_state(state)
    assert [point["Value"] for point in ministack_patches.metric_points("N", "M", {})] == [7]


def test_old_points_are_thinned_and_young_ones_are_not(ministack, cloudwatch):
    del cloudwatch
    now = time.time()
    data = [{"MetricName": "M", "Value": 1, "Timestamp": now - age} for age in (7200, 7201, 60, 0)]
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=data)
    ministack_patches.thin_metrics(now - 3600, lambda points: points[:1])
    assert len(ministack_patches.metric_points("N", "M", {})) == 3


def test_application_auto_scaling_reaches_our_handler(ministack):
    async def handle(method, path, headers, body, query):
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, b'{"seen": true}'

    ministack_patches.route_application_auto_scaling(handle)
    target = {"x-amz-target": "AnyScaleFrontendService.RegisterScalableTarget"}
    assert request(ministack, "application-autoscaling", "/", b"{}", **target).json() == {"seen": True}


def test_cron_expressions_name_minutes():
    after = datetime(2026, 11, 27, 19, 30, tzinfo=UTC)  # a Friday
    assert ministack_patches.next_of_cron("cron(0 7 ? * MON-FRI *)", after) == datetime(2026, 11, 30, 7, tzinfo=UTC)
    with pytest.raises(ValueError, match="no AWS cron expression"):
        ministack_patches.next_of_cron("cron(0 7 * * MON-FRI *)", after)


def test_ecr_says_that_an_image_is_missing_where_we_let_it(ministack, monkeypatch):
    ecr = ministack_patches.ecr
    monkeypatch.setattr(ecr, "_describe_images", ecr._describe_images)
    headers = {"x-amz-target": "AmazonEC2ContainerRegistry_V20150921.CreateRepository"}
    request(ministack, "ecr", "/", b'{"repositoryName": "hooks"}', **headers)
    headers["x-amz-target"] = "AmazonEC2ContainerRegistry_V20150921.DescribeImages"
    asked = b'{"repositoryName": "hooks", "imageIds": [{"imageTag": "none"}]}'
    assert request(ministack, "ecr", "/", asked, **headers).status_code == 200, "ministack refuses now: the hook can go"
    ministack_patches.miss_images()
    answer = request(ministack, "ecr", "/", asked, **headers)
    assert (answer.status_code, answer.json()["__type"]) == (400, "ImageNotFoundException")
    assert "imageTag:'none'" in answer.json()["message"]
    assert request(ministack, "ecr", "/", b'{"repositoryName": "hooks"}', **headers).json() == {"imageDetails": []}


@pytest.fixture
def codebuild(monkeypatch):
    """ministack's CodeBuild, its hooks as they were after the test."""
    codebuild = ministack_patches.codebuild
    for name in ("EXECUTE_BUILDS", "_execute_build", "_get_docker"):
        monkeypatch.setattr(codebuild, name, getattr(codebuild, name))
    return codebuild


def call_codebuild(ministack, operation, **parameters):
    headers = {"x-amz-target": f"CodeBuild_20161006.{operation}"}
    return request(ministack, "codebuild", "/", json.dumps(parameters).encode(), **headers).json()


def project(name):
    given = [{"name": "IMAGE", "value": "repository:tag"}]
    return {
        "name": name,
        "source": {"type": "NO_SOURCE"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {"type": "LINUX_CONTAINER", "image": "i", "environmentVariables": given},
        "serviceRole": "arn:aws:iam::222222222222:role/any",
    }


@pytest.mark.parametrize(("failure", "status"), [(None, "SUCCEEDED"), ("no disk", "FAILED")])
def test_a_build_is_ours_from_its_start_to_its_end(ministack, codebuild, failure, status):
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def carry_out(build):
        assert build.variables == {"IMAGE": "repository:tag"}
        assert (ministack_patches.account(), ministack_patches.region()) == ("222222222222", "eu-west-1")
        build.begin("BUILD")
        began.set()
        go_on.wait(10)
        build.end(failure)
        ended.set()

    ministack_patches.run_builds(carry_out)
    name = f"hooks-{status}"
    call_codebuild(ministack, "CreateProject", **project(name))
    started = call_codebuild(ministack, "StartBuild", projectName=name)["build"]
    assert started["buildStatus"] == "IN_PROGRESS"
    assert began.wait(10)

    def described():
        return call_codebuild(ministack, "BatchGetBuilds", ids=[started["id"]])["builds"][0]

    assert described()["currentPhase"] == "BUILD"
    go_on.set()
    assert ended.wait(10)
    phases = {phase["phaseType"]: phase for phase in described()["phases"]}
    assert (described()["buildStatus"], phases["BUILD"]["phaseStatus"]) == (status, status)
    assert phases["QUEUED"]["phaseStatus"] == "SUCCEEDED"
    assert [context["message"] for context in phases["BUILD"].get("contexts", [])] == ([failure] if failure else [])


def test_a_build_that_somebody_stops_is_not_finished_by_us(ministack, codebuild):
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def carry_out(build):
        began.set()
        go_on.wait(10)
        build.end()
        ended.set()

    ministack_patches.run_builds(carry_out)
    call_codebuild(ministack, "CreateProject", **project("hooks-stopped"))
    started = call_codebuild(ministack, "StartBuild", projectName="hooks-stopped")["build"]
    assert began.wait(10)
    call_codebuild(ministack, "StopBuild", id=started["id"])
    go_on.set()
    assert ended.wait(10)
    [build] = call_codebuild(ministack, "BatchGetBuilds", ids=[started["id"]])["builds"]
    assert build["buildStatus"] == "STOPPED"


def test_a_project_of_a_stack_keeps_the_log_group_it_names(ministack, codebuild):
    groups = []
    ministack_patches.run_builds(lambda build: groups.append(build.log[0]))
    properties = {
        "Name": "hooks-log",
        "ServiceRole": "arn:aws:iam::222222222222:role/any",
        "Source": {"Type": "NO_SOURCE"},
        "Artifacts": {"Type": "NO_ARTIFACTS"},
        "Environment": {"Type": "LINUX_CONTAINER", "Image": "i", "ComputeType": "BUILD_GENERAL1_SMALL"},
        "LogsConfig": {"CloudWatchLogs": {"Status": "ENABLED", "GroupName": "a-group"}},
    }
    call_cloudformation(
        ministack, "CreateStack", StackName="log", TemplateBody=template("AWS::CodeBuild::Project", **properties)
    )
    call_codebuild(ministack, "StartBuild", projectName="hooks-log")
    properties["LogsConfig"]["CloudWatchLogs"]["GroupName"] = "another-group"
    call_cloudformation(
        ministack, "UpdateStack", StackName="log", TemplateBody=template("AWS::CodeBuild::Project", **properties)
    )
    call_codebuild(ministack, "StartBuild", projectName="hooks-log")
    assert wait_until(lambda: len(groups) == 2, 10)
    assert groups == ["a-group", "another-group"]


def test_the_processes_of_functions_are_ended_by_name(ministack):
    ended = []

    class Process:
        def terminate(self):
            ended.append("terminated")

        def poll(self):
            return None

        def wait(self, timeout):
            return 0

    runtime = ministack_patches.lambda_runtime
    worker = runtime.Worker("f", {}, b"")
    worker._proc = Process()
    runtime._workers["key"] = [worker]
    ministack_patches.end_functions()
    assert ended == ["terminated"]
    assert runtime._workers == {}
