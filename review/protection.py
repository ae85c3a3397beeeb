"""What keeps data and the service safe, and is easily lost in a diff: keys, versions, retention, isolation, alarms,
roll-back, capture, scaling. Property by property, of resources that both sides have; and alarms that are gone."""

from collections.abc import Callable, Iterator
from typing import Any

from review.assembly import Json, Stack
from review.changes import HOLDS_DATA
from review.remarks import Remark
from review.words import and_so, listed, quoted, short, text

Said = tuple[str, str]
Check = Callable[[Json, Json], Iterator[Said]]
MISSING = object()
_ROLE_MEMBERS = ("RoleArn", "ExecutionRoleArn", "ServiceRole", "Role", "DeliverLogsPermissionArn")
_KEY_MEMBERS = ("kmskeyid", "kmskeyarn", "kmsmasterkeyid")


def protection_remarks(base: Stack, head: Stack) -> Iterator[Remark]:
    """What one stack protects less than before."""

    def remark(rule: str, what: str) -> Remark:
        return Remark(rule=rule, environment=head.environment, stack=head.short_name, what=what)

    if base.termination_protection and not head.termination_protection:
        yield remark("data.termination_protection", "the stack can be deleted: termination protection on → off")
    for id_, after in head.resources.items():
        before = base.resources.get(id_)
        if before is None or before["Type"] != after["Type"]:
            continue
        name = short(id_)
        for rule, what in _deletion(before, after):
            yield remark(rule, f"{name}: {what}")
        old, new = before.get("Properties", {}), after.get("Properties", {})
        for check in (_keys, _roles, *CHECKS.get(after["Type"], ())):
            for rule, what in check(old, new):
                yield remark(rule, f"{name}: {what}")
    for id_, before in base.resources.items():
        if id_ not in head.resources and (lost := GONE.get(before["Type"])):
            yield remark(lost, f"{_gone(id_, before)} is gone")


def _gone(id_: str, resource: Json) -> str:
    kind = resource["Type"].split("::")[-1]
    described = resource.get("Properties", {}).get("AlarmDescription")
    about = f" (“{str(described).split(' Runbook:')[0]}”)" if isinstance(described, str) else ""
    return f"{kind.lower()} {short(id_)}{about}"


def _deletion(before: Json, after: Json) -> Iterator[Said]:
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        was, now = before.get(policy, "Delete"), after.get(policy, "Delete")
        if was in ("Retain", "Snapshot", "RetainExceptOnCreate") and now == "Delete":
            rule = "data.deletion_policy" if after["Type"] in HOLDS_DATA else "data.deletion_policy_minor"
            yield rule, f"{policy} {was} → Delete"


def _keys(before: Json, after: Json) -> Iterator[Said]:
    """Encryption keys wherever they stand in the properties. What is gone with all around it encrypts nothing."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for path, key in old.items():
        around, _, member = path.rpartition(".")
        if member not in ("EncryptionKey", "KmsKey") and not member.lower().endswith(_KEY_MEMBERS):
            continue
        if path not in new and (not around or any(one.startswith(f"{around}.") for one in new)):
            yield "data.key_dropped", f"{path} is no longer given: AWS's own key encrypts it, or none"
        elif path in new and new[path] != key:
            yield "data.key_changed", f"{path}: {quoted(key)} → {quoted(new[path])}"


def _roles(before: Json, after: Json) -> Iterator[Said]:
    """It acts as somebody else: none of the two roles need have changed for that."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for path in sorted(old.keys() & new.keys()):
        if path.rsplit(".", 1)[-1] in _ROLE_MEMBERS and old[path] != new[path]:
            yield "permissions.other_role", f"{path}: {quoted(old[path])} → {quoted(new[path])}"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and not any(key == "Ref" or key.startswith("Fn::") for key in value):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    else:
        yield path, text(value)


def get(properties: Json, path: str, default: Any = None) -> Any:
    """`A.B` of nested properties."""
    value: Any = properties
    for name in path.split("."):
        value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
        if value is MISSING:
            return default
    return value


def _turned(path: str, safe: Any, rule: str, otherwise: Any = None, says: str = "") -> Check:
    """A switch that was in its safe position and is no longer."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        was, now = get(before, path, otherwise), get(after, path, otherwise)
        if was == safe and now != safe:
            yield rule, f"{says or path}: {quoted(was)} → {quoted(now)}"

    return check


def _appeared(path: str, rule: str, says: str) -> Check:
    """Something is given that was not."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        was, now = get(before, path), get(after, path)
        if now is not None and now != was:
            yield rule, f"{says}: {quoted(now)}"

    return check


def _lost(path: str, rule: str, says: str) -> Check:
    """Something was given and is no longer."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        if get(before, path) is not None and get(after, path) is None:
            yield rule, says

    return check


def _number(path: str, rule: str, *, worse: str, says: str = "", unit: str = "") -> Check:
    """A number that went the wrong way: `worse` is lower or higher. No number is the lowest of all."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        was, now = get(before, path), get(after, path)
        if not isinstance(was, int | float) or was == now:
            return
        down = not isinstance(now, int | float) or now < was
        if down == (worse == "lower"):
            yield (
                rule,
                f"{says or path}: {was:g}{unit} → {'none' if now is None else f'{now}{unit}'}",
            )

    return check


def _retention(before: Json, after: Json) -> Iterator[Said]:
    was, now = before.get("RetentionInDays"), after.get("RetentionInDays")
    if was != now and now is not None and (was is None or now < was):
        yield "data.retention", f"logs are kept {f'{was} days' if was else 'for ever'} → {now} days"
    elif was != now:
        yield (
            "data.kept_longer",
            f"logs are kept {f'{was} days' if was else 'for ever'} → {f'{now} days' if now else 'for ever'}",
        )


def _lifecycle(before: Json, after: Json) -> Iterator[Said]:
    """Objects that go sooner, or begin to go at all."""

    def rules(properties: Json) -> dict[str, Json]:
        found = listed(get(properties, "LifecycleConfiguration.Rules"))
        return {
            str(rule.get("Id", rule.get("Prefix", number))): rule
            for number, rule in enumerate(found)
            if rule.get("Status") == "Enabled"
        }

    old, new = rules(before), rules(after)
    for name, rule in new.items():
        for path, what in (
            ("ExpirationInDays", "objects"),
            ("NoncurrentVersionExpiration.NoncurrentDays", "old versions"),
        ):
            was, now = get(old.get(name, {}), path), get(rule, path)
            where = f"{rule.get('Prefix') or 'everything'}"
            if now is not None and (was is None or now < was):
                yield (
                    "data.retention",
                    f"{what} of {where} go after {_days(now)} (before: {_days(was) if was else 'never'})",
                )
            elif was is not None and (now is None or now > was):
                yield "data.kept_longer", f"{what} of {where} go after {was} → {_days(now) if now else 'never'}"
    for name in old.keys() - new.keys():
        yield "data.kept_longer", f"life-cycle rule {name} is gone: what it deleted stays, and is paid for"


def _public_access(before: Json, after: Json) -> Iterator[Said]:
    was, now = get(before, "PublicAccessBlockConfiguration", {}), get(after, "PublicAccessBlockConfiguration", {})
    if off := sorted(name for name, on in was.items() if on is True and now.get(name) is not True):
        yield "exposure.public_access", f"public access is no longer blocked: {and_so(off)} off"


def _encryption(before: Json, after: Json) -> Iterator[Said]:
    def algorithm(properties: Json) -> str | None:
        for rule in listed(get(properties, "BucketEncryption.ServerSideEncryptionConfiguration")):
            return str(get(rule, "ServerSideEncryptionByDefault.SSEAlgorithm"))
        return None

    was, now = algorithm(before), algorithm(after)
    if was and was.startswith("aws:kms") and not (now or "").startswith("aws:kms"):
        yield "data.key_dropped", f"encryption {was} → {now or 'S3 default (AES256)'}"


def _alarm(before: Json, after: Json) -> Iterator[Said]:
    if actions := [one for one in listed(before.get("AlarmActions")) if one not in listed(after.get("AlarmActions"))]:
        yield "alarm.silent", f"no longer tells {and_so([short(text(one)) for one in actions])}"
    if before.get("ActionsEnabled", True) and after.get("ActionsEnabled", True) is False:
        yield "alarm.silent", "its actions are off"
    measured = (
        "Namespace",
        "MetricName",
        "Statistic",
        "ExtendedStatistic",
        "Metrics",
        "Dimensions",
        "ComparisonOperator",
    )
    if changed := [name for name in measured if before.get(name) != after.get(name)]:
        yield "alarm.other_metric", f"it looks at something else than before ({and_so(changed)})"
        return
    was, now = before.get("Threshold"), after.get("Threshold")
    if isinstance(was, int | float) and isinstance(now, int | float) and was != now:
        upwards = str(after.get("ComparisonOperator", "")).startswith("Greater")
        yield ("alarm.later" if (now > was) == upwards else "alarm.changed"), f"rings at {was:g} → {now:g}"
    waits = [_seconds_of_an_alarm(side) for side in (before, after)]
    if waits[0] != waits[1]:
        rule = "alarm.later" if waits[1] > waits[0] else "alarm.changed"
        yield rule, f"rings after {waits[0] / 60:g} → {waits[1] / 60:g} minutes"
    was, now = before.get("TreatMissingData", "missing"), after.get("TreatMissingData", "missing")
    if was != now:
        yield (
            ("alarm.later" if was == "breaching" or now == "ignore" else "alarm.changed"),
            f"no data is taken as {was} → {now}",
        )


def _seconds_of_an_alarm(alarm: Json) -> float:
    """How long it must be bad before it rings."""
    periods = alarm.get("DatapointsToAlarm", alarm.get("EvaluationPeriods", 1))
    stats = [one["MetricStat"].get("Period", 60) for one in listed(alarm.get("Metrics")) if "MetricStat" in one]
    return float(alarm.get("Period", max(stats, default=60)) * periods)


def _deployment(before: Json, after: Json) -> Iterator[Said]:
    path = "DeploymentConfig.AutoRollbackConfiguration.Alarms"
    was, now = ({text(one.get("AlarmName")) for one in listed(get(side, path))} for side in (before, after))
    if lost := sorted(was - now):
        yield (
            "rollback.alarm_removed",
            f"a deployment is no longer rolled back on {and_so([short(one) for one in lost])}"
            + ("; on no alarm at all" if not now else ""),
        )
    old, new = (
        {name: get(side, f"DeploymentConfig.{name}") for name in ("BlueGreenUpdatePolicy", "RollingUpdatePolicy")}
        for side in (before, after)
    )
    if any(old.values()) and not any(new.values()):
        yield "rollback.all_at_once", "all traffic moves to the new fleet at once: the deployment policy is gone"
    routing = "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration"
    kinds = get(before, f"{routing}.Type"), get(after, f"{routing}.Type")
    if kinds[0] not in (None, "ALL_AT_ONCE") and kinds[1] == "ALL_AT_ONCE":
        yield "rollback.all_at_once", f"traffic moves {kinds[0]} → ALL_AT_ONCE"
    yield from _number(
        f"{routing}.WaitIntervalInSeconds", "rollback.shorter", worse="lower", says="alarms are watched", unit=" s"
    )(before, after)
    yield from _number(
        f"{routing}.CanarySize.Value", "rollback.shorter", worse="higher", says="first share of traffic"
    )(before, after)
    waits = "DeploymentConfig.BlueGreenUpdatePolicy.TerminationWaitInSeconds"
    yield from _number(waits, "rollback.shorter", worse="lower", says="the old fleet is kept", unit=" s")(before, after)


def _variants(before: Json, after: Json) -> Iterator[Said]:
    for member, role in (("ProductionVariants", ""), ("ShadowProductionVariants", "shadow ")):
        old = {text(one.get("VariantName")): one for one in listed(before.get(member))}
        new = {text(one.get("VariantName")): one for one in listed(after.get(member))}
        for name in sorted(old.keys() | new.keys()):
            was, now = old.get(name, {}), new.get(name, {})
            if not was or not now:
                yield "endpoint.variant", f"{role}variant {name} {'is new' if now else 'is gone'}"
                continue
            for path in (
                "InstanceType",
                "InitialInstanceCount",
                "ServerlessConfig",
                "ModelName",
                "ManagedInstanceScaling",
            ):
                if was.get(path) != now.get(path):
                    yield "endpoint.capacity", f"{role}{path}: {quoted(was.get(path))} → {quoted(now.get(path))}"
            for path in sorted(
                (was.keys() | now.keys()) - {"InstanceType", "InitialInstanceCount", "ServerlessConfig", "ModelName"}
            ):
                if was.get(path) != now.get(path) and path != "ManagedInstanceScaling":
                    yield "endpoint.changed", f"{role}{path}: {quoted(was.get(path))} → {quoted(now.get(path))}"


def _capture(before: Json, after: Json) -> Iterator[Said]:
    def percent(properties: Json) -> float:
        config = properties.get("DataCaptureConfig") or {}
        return float(config.get("InitialSamplingPercentage", 0)) if config.get("EnableCapture") else 0.0

    was, now = percent(before), percent(after)
    if now < was:
        yield "capture.less", f"requests kept: {was:g} % → {f'{now:g} %' if now else 'none: drift is no longer seen'}"
    elif now > was:
        yield "capture.more", f"requests kept: {was:g} % → {now:g} %"
    places = get(before, "DataCaptureConfig.DestinationS3Uri"), get(after, "DataCaptureConfig.DestinationS3Uri")
    if None not in places and places[0] != places[1]:
        yield "capture.elsewhere", f"requests are kept in {quoted(places[0])} → {quoted(places[1])}"


def _rest_of(*said_elsewhere: str) -> Check:
    """What is made anew with each change, and so is in no list of changed properties: all that no other check says."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        for name in sorted((before.keys() | after.keys()) - {"Tags", *said_elsewhere}):
            if before.get(name) != after.get(name):
                yield "endpoint.changed", f"{name}: {quoted(before.get(name))} → {quoted(after.get(name))}"

    return check


def _scaling(before: Json, after: Json) -> Iterator[Said]:
    for name, what in (("MinCapacity", "at least"), ("MaxCapacity", "at most")):
        was, now = before.get(name), after.get(name)
        if was != now:
            fewer = (now or 0) < (was or 0)
            yield ("endpoint.smaller" if fewer else "endpoint.capacity"), f"{what} {was} → {now} instances"
    if before.get("ScheduledActions") != after.get("ScheduledActions"):
        times = [len(listed(side.get("ScheduledActions"))) for side in (before, after)]
        yield "endpoint.schedule", f"the hours of its scaling have changed ({times[0]} → {times[1]} actions)"


def _target(before: Json, after: Json) -> Iterator[Said]:
    path = "TargetTrackingScalingPolicyConfiguration"
    for name in sorted({*get(before, path, {}), *get(after, path, {})}):
        was, now = get(before, f"{path}.{name}"), get(after, f"{path}.{name}")
        if was != now:
            yield "endpoint.capacity", f"{name} {quoted(was)} → {quoted(now)}"


def _budget(before: Json, after: Json) -> Iterator[Said]:
    was, now = get(before, "Budget.BudgetLimit.Amount"), get(after, "Budget.BudgetLimit.Amount")
    if was is not None and (now is None or float(now) > float(was)):
        yield "budget.raised", f"the budget warns at {was} → {now} US dollars"
    if len(listed(before.get("NotificationsWithSubscribers"))) > len(listed(after.get("NotificationsWithSubscribers"))):
        yield "alarm.silent", "fewer of the budget's warnings reach anybody"


CHECKS: dict[str, tuple[Check, ...]] = {
    "AWS::S3::Bucket": (
        _public_access,
        _encryption,
        _lifecycle,
        _turned("VersioningConfiguration.Status", "Enabled", "data.versioning", says="versions of objects"),
        _lost("LoggingConfiguration", "data.records", "who reads the bucket is no longer logged"),
        _lost(
            "OwnershipControls", "exposure.public_access", "access lists are possible again: ownership controls gone"
        ),
        _turned("ObjectLockEnabled", True, "data.versioning"),
        _appeared("AccessControl", "exposure.public_access", "an access list"),
        _appeared("WebsiteConfiguration", "exposure.public_access", "it is a web site"),
        _appeared("ReplicationConfiguration", "exposure.copied", "what is written is copied elsewhere"),
        _appeared("CorsConfiguration", "exposure.copied", "web pages of others may read it"),
        _lost("NotificationConfiguration", "pipeline.changed", "its events are no longer sent"),
    ),
    "AWS::KMS::Key": (
        _turned("EnableKeyRotation", True, "data.records", says="rotation of the key"),
        _turned("Enabled", True, "data.key_dropped", otherwise=True, says="the key is enabled"),
        _number(
            "PendingWindowInDays", "data.retention", worse="lower", says="a deleted key can be restored", unit=" days"
        ),
    ),
    "AWS::ECR::Repository": (
        _turned("ImageTagMutability", "IMMUTABLE", "data.tags_move", says="tags of images"),
        _turned("ImageScanningConfiguration.ScanOnPush", True, "data.records", says="images are scanned"),
    ),
    "AWS::Logs::LogGroup": (_retention,),
    "AWS::EC2::Subnet": (_turned("MapPublicIpOnLaunch", False, "exposure.public_access", otherwise=False),),
    "AWS::EC2::VPCEndpoint": (_turned("PrivateDnsEnabled", True, "network.moved", says="private names of AWS"),),
    "AWS::SageMaker::Model": (
        _turned("EnableNetworkIsolation", True, "exposure.isolation_off"),
        _lost("VpcConfig", "exposure.left_vpc", "runs outside of the private network"),
        _rest_of("EnableNetworkIsolation", "ExecutionRoleArn"),
    ),
    "AWS::SageMaker::NotebookInstance": (
        _turned("DirectInternetAccess", "Disabled", "exposure.way_out"),
        _turned("RootAccess", "Disabled", "exposure.isolation_off"),
        _lost("SubnetId", "exposure.left_vpc", "runs outside of the private network"),
        _lost("LifecycleConfigName", "cost.never_stops", "no longer stops when idle"),
    ),
    "AWS::SageMaker::EndpointConfig": (
        _variants,
        _capture,
        _rest_of("ProductionVariants", "ShadowProductionVariants", "DataCaptureConfig", "KmsKeyId", "ExecutionRoleArn"),
        _turned("EnableNetworkIsolation", True, "exposure.isolation_off"),
    ),
    "AWS::SageMaker::Endpoint": (
        _deployment,
        _turned("RetainAllVariantProperties", True, "endpoint.smaller", says="a deployment keeps the scaled fleet"),
    ),
    "AWS::ApplicationAutoScaling::ScalableTarget": (_scaling,),
    "AWS::ApplicationAutoScaling::ScalingPolicy": (_target,),
    "AWS::CloudWatch::Alarm": (_alarm,),
    "AWS::Budgets::Budget": (_budget,),
    "AWS::Lambda::Url": (_turned("AuthType", "AWS_IAM", "exposure.way_out"),),
    "AWS::CodeBuild::Project": (
        _turned("Environment.PrivilegedMode", False, "exposure.isolation_off", otherwise=False),
        _number("TimeoutInMinutes", "pipeline.longer", worse="higher", unit=" min"),
    ),
    "AWS::SQS::Queue": (_number("MessageRetentionPeriod", "data.retention", worse="lower", unit=" s"),),
    "AWS::Scheduler::Schedule": (_turned("State", "ENABLED", "endpoint.schedule", otherwise="ENABLED"),),
}
GONE = {
    "AWS::CloudWatch::Alarm": "alarm.removed",
    "AWS::CloudWatch::CompositeAlarm": "alarm.removed",
    "AWS::Budgets::Budget": "alarm.removed",
    "AWS::EC2::FlowLog": "data.records",
    "AWS::ApplicationAutoScaling::ScalableTarget": "endpoint.smaller",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "endpoint.smaller",
    "AWS::Scheduler::Schedule": "endpoint.schedule",
    "AWS::SNS::Subscription": "alarm.silent",
    "Custom::VpcRestrictDefaultSG": "network.default_group",
}
"""Types whose absence nobody notices until it is needed."""


def _days(count: int) -> str:
    return f"{count} day{'' if str(count) == '1' else 's'}"
