"""What keeps data and the service safe, and is easily lost in a diff: keys, versions, retention, isolation, alarms,
roll-back, capture, scaling. Property by property, of resources that both sides have; and alarms that are gone."""

from collections.abc import Iterator

from review.assembly import Json, Stack
from review.changes import GONE, HOLDS_DATA
from review.property_checks import Check, Said, appeared, get, leaves, lost, number, turned
from review.remarks import Remark
from review.service_checks import SERVICE_CHECKS
from review.words import and_so, listed, quoted, short

ROLE_MEMBERS = ("RoleArn", "ExecutionRoleArn", "ServiceRole", "Role", "DeliverLogsPermissionArn")
_KEY_MEMBERS = ("kmskeyid", "kmskeyarn", "kmsmasterkeyid")


def protection_remarks(base: Stack, head: Stack) -> Iterator[Remark]:
    """What one stack protects less than before."""

    def remark(rule: str, what: str) -> Remark:
        return Remark(rule=rule, environment=head.environment, stack=head.short_name, what=what)

    if base.termination_protection and not head.termination_protection:
        yield remark("data.termination_protection", "the stack can be deleted: termination protection on → off")
    for name in sorted(base.deployed_by.keys() | head.deployed_by.keys()):
        was, now = base.deployed_by.get(name), head.deployed_by.get(name)
        if was != now:
            yield remark("permissions.deployer", f"the stack is deployed with {name} {quoted(was)} → {quoted(now)}")
    for id_, after in head.resources.items():
        before = base.resources.get(id_)
        if before is None or before["Type"] != after["Type"]:
            continue
        name = short(id_)
        for rule, what in _deletion(before, after):
            yield remark(rule, f"{name}: {what}")
        old, new = before.get("Properties", {}), after.get("Properties", {})
        for rule, what in said_of(after["Type"], old, new):
            yield remark(rule, f"{name}: {what}")
    for id_, before in base.resources.items():
        if id_ not in head.resources and (lost := GONE.get(before["Type"])):
            yield remark(lost, f"{_gone(id_, before)} is gone")


def said_of(type_: str, before: Json, after: Json) -> Iterator[Said]:
    """What the checks of a type say of two states. A value that is none of what a check expects is said to be so."""
    for check in (_keys, _roles, *CHECKS.get(type_, ())):
        try:
            yield from check(before, after)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            yield "change.unjudged", f"a value has another form than its check can read ({error})"


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
    old, new = dict(leaves(before)), dict(leaves(after))
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
    old, new = dict(leaves(before)), dict(leaves(after))
    for path in sorted(old.keys() & new.keys()):
        if path.rsplit(".", 1)[-1] in ROLE_MEMBERS and old[path] != new[path]:
            yield "permissions.other_role", f"{path}: {quoted(old[path])} → {quoted(new[path])}"


def _retention(before: Json, after: Json) -> Iterator[Said]:
    was, now = before.get("RetentionInDays"), after.get("RetentionInDays")
    if was != now and now is not None and (was is None or now < was):
        yield "data.retention", f"logs are kept {f'{was} days' if was else 'for ever'} → {now} days"
    elif was != now:
        yield (
            "data.kept_longer",
            f"logs are kept {f'{was} days' if was else 'for ever'} → {f'{now} days' if now else 'for ever'}",
        )


def _days(count: int) -> str:
    return f"{count} day{'' if str(count) == '1' else 's'}"


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


DATA_CHECKS: dict[str, tuple[Check, ...]] = {
    "AWS::S3::Bucket": (
        _public_access,
        _encryption,
        _lifecycle,
        turned("VersioningConfiguration.Status", "Enabled", "data.versioning", says="versions of objects"),
        lost("LoggingConfiguration", "data.records", "who reads the bucket is no longer logged"),
        lost("OwnershipControls", "exposure.public_access", "access lists are possible again: ownership controls gone"),
        turned("ObjectLockEnabled", True, "data.versioning"),
        appeared("AccessControl", "exposure.public_access", "an access list"),
        appeared("WebsiteConfiguration", "exposure.public_access", "it is a web site"),
        appeared("ReplicationConfiguration", "exposure.copied", "what is written is copied elsewhere"),
        appeared("CorsConfiguration", "exposure.copied", "web pages of others may read it"),
        lost("NotificationConfiguration", "pipeline.changed", "its events are no longer sent"),
    ),
    "AWS::KMS::Key": (
        turned("EnableKeyRotation", True, "data.records", says="rotation of the key"),
        turned("Enabled", True, "data.key_dropped", otherwise=True, says="the key is enabled"),
        number(
            "PendingWindowInDays", "data.retention", worse="lower", says="a deleted key can be restored", unit=" days"
        ),
    ),
    "AWS::ECR::Repository": (
        turned("ImageTagMutability", "IMMUTABLE", "data.tags_move", says="tags of images"),
        turned("ImageScanningConfiguration.ScanOnPush", True, "data.records", says="images are scanned"),
    ),
    "AWS::IAM::Role": (
        number(
            "MaxSessionDuration",
            "permissions.session_longer",
            worse="higher",
            otherwise=3600,
            says="a session lasts at most",
            unit=" s",
        ),
    ),
    "AWS::Logs::LogGroup": (_retention,),
    "AWS::EC2::Subnet": (turned("MapPublicIpOnLaunch", False, "exposure.public_access", otherwise=False),),
    "AWS::EC2::VPCEndpoint": (turned("PrivateDnsEnabled", True, "network.moved", says="private names of AWS"),),
    "AWS::SQS::Queue": (number("MessageRetentionPeriod", "data.retention", worse="lower", unit=" s"),),
}
CHECKS = DATA_CHECKS | SERVICE_CHECKS
