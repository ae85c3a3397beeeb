"""Every private name of ministack 1.5.33 that we touch, and nothing else touches one.

ministack has no plug-in interface, so these are hooks into its tables. Each has a test that fails loudly when the name
is gone or means another thing (`tests/local_aws/test_ministack_hooks.py`); the version is pinned for the same reason.
Import this module inside the server process only, after `host` has set ministack's environment: ministack reads that
while it is imported.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import ministack.app as ministack
from ministack.core import lambda_runtime, persistence, responses, router
from ministack.services import cloudwatch, codebuild, ecr, eventbridge, s3
from ministack.services.cloudformation import changesets, handlers, provisioners, stacks

Headers = dict[str, str]
Query = dict[str, list[str]]
Handler = Callable[[str, str, Headers, bytes, Query], Awaitable[tuple[int, Headers, bytes]]]
Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]  # physical id, attributes for Fn::GetAtt
Alarm = dict[str, Any]  # as DescribeAlarms shows it
Point = dict[str, Any]  # of a metric: its Timestamp in seconds, its Unit, its value or values

threaded_types: set[str] = {"AWS::S3::Bucket"}  # beside all of AWS::SageMaker; see run_in_threads


# ---- requests --------------------------------------------------------------------------------------------------------


def route_sagemaker(handle: Handler) -> None:
    """Send SageMaker's and SageMaker Runtime's requests to `handle(method, path, headers, body, query)`.

    Both are signed for "sagemaker". ministack gives every "Content-Type" that it finds the form usual for the service;
    what a model answers has its own, and header names in small letters are not found.
    """

    async def answer(method: str, path: str, headers: Headers, body: bytes, query: Query) -> tuple[int, Headers, bytes]:
        status, answered, content = await handle(method, path, headers, body, query)
        return status, {name.lower(): value for name, value in answered.items()}, content

    router.SERVICE_PATTERNS["sagemaker"] = {"target_prefixes": ["SageMaker."]}
    ministack.SERVICE_HANDLERS["sagemaker"] = answer


def route_application_auto_scaling(handle: Handler) -> None:
    """Send Application Auto Scaling's requests, a service that ministack lacks, to `handle`."""
    router.SERVICE_PATTERNS["application-autoscaling"] = {"target_prefixes": ["AnyScaleFrontendService."]}
    ministack.SERVICE_HANDLERS["application-autoscaling"] = handle


def account() -> str:
    """The account of the request, or of the stack, that this code runs for."""
    return str(responses.get_account_id())


def region() -> str:
    """The region of the request, or of the stack, that this code runs for."""
    return str(responses.get_region())


def access_key(headers: Mapping[str, str], query: Mapping[str, list[str]]) -> str:
    """Whose signature a request has, which ministack checks in strict mode; "" for none."""
    return str(router.extract_access_key_id(headers, query))


def request_scope(account: str, region: str) -> AbstractContextManager[None]:
    """Code in this context runs for that account and region: for threads of our own."""
    return responses.request_scope(account, region)


# ---- CloudFormation --------------------------------------------------------------------------------------------------


def add_resource_type(
    name: str,
    *,
    create: Callable[[str, Properties, str], Created],
    update: Callable[[str, Properties, Properties, str, str], Created],
    delete: Callable[[str, Properties], None],
) -> None:
    """Let CloudFormation provision `name`. All three may block (see `run_in_threads`) and raise to fail the resource.

    create(logical id, properties, stack name); update(physical id, old properties, new properties, stack name, logical
    id), where another physical id than before means that the resource was replaced, and the old one will be deleted;
    delete(physical id, properties).
    """
    threaded_types.add(name)
    provisioners._RESOURCE_HANDLERS[name] = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }


def physical_name(stack_name: str, logical_id: str, max_length: int = 63) -> str:
    """The generated name of a resource that has none: the same at each update, another for a replacement."""
    return str(provisioners._physical_name(stack_name, logical_id, max_len=max_length))


def run_in_threads() -> None:
    """Provision our types off the event loop: they call this same server and wait, and the loop must answer them."""
    is_threaded = stacks._runs_on_worker_thread

    def _runs_on_worker_thread(resource_type: str) -> bool:
        return resource_type in threaded_types or is_threaded(resource_type)

    stacks._runs_on_worker_thread = _runs_on_worker_thread


def join_in_conditions() -> None:
    """Let a template's conditions use Fn::Join, as CDK's bootstrap template does: ministack takes every such text for a
    filled one, so that the CDK's deployment roles come out with empty policies and trust."""
    evaluate = stacks._evaluate_conditions

    def _evaluate_conditions(template: dict[str, Any], params: dict[str, dict[str, Any]]) -> dict[str, bool]:
        joined = _joined(template.get("Conditions", {}), params)
        found: dict[str, bool] = evaluate({**template, "Conditions": joined}, params)
        return found

    for module in (stacks, handlers, changesets):
        module._evaluate_conditions = _evaluate_conditions


def _joined(value: Any, params: dict[str, dict[str, Any]]) -> Any:
    """`value` with every Fn::Join of texts and list parameters done."""
    if isinstance(value, list):
        return [_joined(member, params) for member in value]
    if not isinstance(value, dict):
        return value
    if "Fn::Join" not in value:
        return {key: _joined(member, params) for key, member in value.items()}
    between, parts = value["Fn::Join"]
    if isinstance(parts, dict):  # the Ref of a list
        given = str(params[parts["Ref"]]["Value"])
        return between.join(part.strip() for part in given.split(",")) if given else ""
    return between.join(str(params[part["Ref"]]["Value"]) if isinstance(part, dict) else part for part in parts)


def wrap_bucket(
    apply: Callable[[str, Properties, Properties], None], delete: Callable[[str, Properties], None]
) -> None:
    """Have `apply(bucket, old properties, new properties)` called after ministack made or updated an AWS::S3::Bucket,
    and `delete` in place of ministack's deletion."""
    ours = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update, remove = ours["create"], ours["update"], ours["delete"]

    def create_bucket(logical_id: str, properties: Properties, stack_name: str) -> Created:
        name, attributes = create(logical_id, properties, stack_name)
        try:
            apply(name, {}, properties)
        except Exception:
            remove(name, properties)  # CloudFormation never learns its name: nobody else could
            raise
        return name, attributes

    def update_bucket(physical_id: str, old: Properties, new: Properties, stack_name: str) -> Created:
        name, attributes = update(physical_id, old, new, stack_name)
        apply(name, old if name == physical_id else {}, new)
        return name, attributes

    ours.update(create=create_bucket, update=update_bucket, delete=delete)


# ---- S3 --------------------------------------------------------------------------------------------------------------


def encrypt_with_the_buckets_key() -> None:
    """Let a write that asks for aws:kms and names no key have the bucket's, or else the account's own for S3.

    So does AWS; ministack refuses it, and with it every upload of the CDK command line to its bootstrap bucket.
    """
    resolve = s3._resolve_sse_write_headers
    asked, key = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"

    def _resolve_sse_write_headers(headers: Headers, bucket: str) -> Any:
        if headers.get(asked) == "aws:kms" and not headers.get(key):
            own = s3._bucket_default_sse_headers(bucket).get(key)
            headers = {**headers, key: own or f"arn:aws:kms:{region()}:{account()}:alias/aws/s3"}
        return resolve(headers, bucket)

    s3._resolve_sse_write_headers = _resolve_sse_write_headers


# ---- metrics and alarms ----------------------------------------------------------------------------------------------


def evaluate_alarms_with(evaluate: Callable[[Alarm], None]) -> None:
    """Let `evaluate` decide about an alarm's state whenever ministack would: it pools metrics of all dimensions, and
    knows neither DatapointsToAlarm nor TreatMissingData."""
    cloudwatch._evaluate_alarm = evaluate


def evaluate_all_alarms() -> None:
    """Evaluate every metric alarm, each for its own account and region. On the event loop: requests change alarms."""
    for account, region in {key[:2] for key in list(cloudwatch._alarms._data)}:
        with request_scope(account, region):
            cloudwatch._evaluate_all_alarms()


def keep_metric_math() -> None:
    """Let alarms have `Metrics`, with expressions: ministack's API drops them, and its CloudFormation refuses them."""
    put, record = cloudwatch._put_metric_alarm, provisioners._cw_metric_alarm_record

    def of_math(alarm: Alarm, metrics: list[dict[str, Any]]) -> None:
        for name in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit"):
            alarm.pop(name, None)
        alarm["Metrics"] = metrics

    def _put_metric_alarm(params: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        answer = put(params, data, is_cbor, is_json)
        alarm = cloudwatch._alarms.get(data.get("AlarmName", ""))
        if data.get("Metrics") and alarm is not None:
            of_math(alarm, data["Metrics"])
        return answer

    def _cw_metric_alarm_record(name: str, properties: Properties) -> Alarm:
        if not properties.get("Metrics"):
            return dict(record(name, properties))
        rest = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = dict(record(name, rest | {"MetricName": "-", "Namespace": "-"}))
        of_math(alarm, properties["Metrics"])
        return alarm

    cloudwatch._put_metric_alarm = _put_metric_alarm
    provisioners._cw_metric_alarm_record = _cw_metric_alarm_record


def metric_points(namespace: str, name: str, dimensions: Mapping[str, str]) -> list[Point]:
    """What was published of one metric, in the account and region of this code; oldest first, roughly."""
    return list(cloudwatch._metrics.get((namespace, name, cloudwatch._dims_key(dict(dimensions))), []))


def statistic(points: list[Point], name: str) -> float | None:
    """`Average`, `Sum`, `p99`, … over points; None where there are none, or no such percentile."""
    stats = cloudwatch._calc_stats(points)
    value = cloudwatch._stat_value(stats, name, points) if stats else None
    return None if value is None else float(value)


def set_alarm_state(alarm: Alarm, state: str, reason: str) -> None:
    """Bring an alarm into another state: its history, its actions, and the composite alarms that name it."""
    before = alarm["StateValue"]
    alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=datetime.now(UTC).timestamp())
    cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def thin_metrics(older_than: float, keep: Callable[[list[Point]], list[Point]]) -> None:
    """Replace every metric's points before `older_than` (a time) by those that `keep` returns of them."""
    for key, points in list(cloudwatch._metrics._data.items()):
        if points and points[0]["Timestamp"] < older_than:
            old = [point for point in points if point["Timestamp"] < older_than]
            kept = keep(old)
            if len(kept) < len(old):
                cloudwatch._metrics._data[key] = [*kept, *(p for p in points if p["Timestamp"] >= older_than)]


def copy_metrics_quickly() -> None:
    """Copy points, which never change, by reference when state is saved. An endpoint makes thousands a day, and copying
    each of them would hold up every request meanwhile."""
    rest = cloudwatch.get_state

    def get_state() -> dict[str, Any]:
        metrics, copied = cloudwatch._metrics, responses.AccountRegionScopedDict()
        copied._data = {key: list(points) for key, points in list(metrics._data.items())}
        cloudwatch._metrics = responses.AccountRegionScopedDict()
        try:
            return {**rest(), "metrics": copied}
        finally:
            cloudwatch._metrics = metrics

    cloudwatch.get_state = get_state


# ---- schedules -------------------------------------------------------------------------------------------------------


def next_of_cron(expression: str, after: datetime) -> datetime | None:
    """The first minute after `after` that an AWS `cron(…)` names; None where there is none in four years.

    Raises ValueError where it is no such expression.
    """
    fields = eventbridge._parse_cron_fields(expression)
    if fields is None:
        raise ValueError(f"{expression!r} is no AWS cron expression: give cron(minutes hours day month weekday year)")
    found: datetime | None = eventbridge._cron_next_fire(fields, after)
    return found


# ---- ECR -------------------------------------------------------------------------------------------------------------


def miss_images() -> None:
    """Let DescribeImages say that an image it was asked for is not there, as ECR does; ministack leaves it out."""
    describe = ecr._describe_images

    def _describe_images(request: Properties) -> Any:
        name = request.get("repositoryName", "")
        if name in ecr._repositories:
            for image_id in request.get("imageIds") or []:
                if ecr._find_image(name, image_id) is None:
                    asked = ", ".join(f"{part}:'{value}'" for part, value in image_id.items())
                    message = f"The image with imageId {{{asked}}} does not exist within the repository '{name}'"
                    return responses.error_response_json("ImageNotFoundException", message, 400)
        return describe(request)

    ecr._describe_images = _describe_images


# ---- CodeBuild and Lambda --------------------------------------------------------------------------------------------


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


def end_functions() -> None:
    """End the processes of Lambda functions, which wait for their next event."""
    lambda_runtime.reset()


# ---- state -----------------------------------------------------------------------------------------------------------


def state_of_services() -> dict[str, Callable[[], Any]]:
    """For each service that was used: the function that returns its tables."""
    return dict(ministack._build_persistence_save_dict())


def encode(service: str, state: Any) -> str:
    """A service's tables as ministack's own loader reads them."""
    wrapped = {"__ministack_format__": persistence._state_format_version(service), "payload": state}
    return json.dumps(wrapped, default=persistence._json_default)
