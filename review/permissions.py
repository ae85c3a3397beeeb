"""Permissions before and after, by meaning: only what was not allowed before is a broadening, however it is written."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from review.assembly import Stack
from review.holders import Holder, holders
from review.remarks import Remark
from review.statements import ANYBODY, Clause, Grant, not_within
from review.words import and_so, short

WITHOUT_RESOURCE = re.compile(
    r"ecr:GetAuthorizationToken|cloudwatch:(PutMetricData|GetMetric\w+|ListMetrics|DescribeAlarms)|ec2:Describe\w*\*?"
    r"|\w[\w-]*:List\w*\*?|logs:Describe\w*\*?|xray:Put\w+|sts:GetCallerIdentity|tag:Get\w+|cloudformation:ValidateTemplate"
    r"|servicequotas:Get\w+|pricing:\w+"
)
"""Actions for which AWS takes no resource, or that only list: https://docs.aws.amazon.com/service-authorization/"""
PRECIOUS = ("iam", "sts", "s3", "kms", "secretsmanager", "ssm", "lambda", "ecr", "dynamodb", "organizations")
"""Services where all resources of a kind are too many."""
PRIVILEGED = re.compile(
    r"iam:(\*|PassRole|Create|Put|Attach|Add|Update|Set|Delete|Detach|Tag)|sts:AssumeRole|kms:(CreateGrant|PutKeyPolicy|Schedule|Disable)"
    r"|s3:(PutBucketPolicy|DeleteBucket|PutBucketPublic|PutObjectAcl|PutBucketAcl)|lambda:(AddPermission|UpdateFunctionCode)"
    r"|ec2:(AuthorizeSecurityGroup|CreateRoute|AttachInternetGateway)|sagemaker:CreatePresigned|cloudtrail:|organizations:"
)
"""Actions by which more rights, or others' data, are to be had."""
BINDS_STRANGERS = re.compile(
    r"aws:(Source(Account|Arn|OrgID|Vpce|Vpc|Ip)|Principal(Account|Arn|OrgID|OrgPaths)|ResourceAccount|VpcSourceIp)"
    r"|kms:(CallerAccount|ViaService)|sts:ExternalId|[\w.-]+:(sub|aud)",
    re.IGNORECASE,
)
"""Condition keys that say who may come, or whence."""
OF_OUR_ACCOUNT = {"aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths"}
WHO_COMES = {"aws:principalaccount", "aws:principalorgid", "aws:principalorgpaths", "aws:principalarn"}
MOST_ACTIONS = 5
ADMINISTRATOR = re.compile(r"policy/(AdministratorAccess|PowerUserAccess|IAMFullAccess|\w*FullAccess)$")


def permission_remarks(environment: str, before: Iterable[Stack], after: Iterable[Stack]) -> Iterator[Remark]:
    """What one environment's identities and doors allow that they did not, and what they no longer do."""
    old, new = holders(before), holders(after)
    for key, holder in new.items():
        was = old.get(key) or Holder(
            kind=holder.kind, name=holder.name, stack=holder.stack, account=holder.account, is_there=False
        )
        for rule, what, details in _broadened(was, holder):
            yield Remark(rule=rule, environment=environment, stack=holder.stack, what=what, details=details)
        if was.is_there and (fewer := not_within(was.allows, holder.allows)):
            what = f"{_subject(holder)} {_may_no_longer(fewer)}"
            yield Remark(rule="permissions.narrowed", environment=environment, stack=holder.stack, what=what)
    for key, was in old.items():
        if key not in new and was.denies:
            for rule, what in _denials_lost(was, []):
                yield Remark(rule=rule, environment=environment, stack=was.stack, what=what)
        if key not in new and was.kind == "vpc endpoint":
            continue
        if key not in new and was.allows and was.kind != "trust":
            what = f"{_subject(was)} is gone with its permissions"
            yield Remark(rule="permissions.narrowed", environment=environment, stack=was.stack, what=what)


def _broadened(was: Holder, now: Holder) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    actions_of: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for grant in not_within(now.allows, was.allows):
        rule, about = _weigh(grant, was, now)
        actions_of[rule, _who(grant, was, now), about].add(str(grant.action))
    places: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (rule, who, about), found in actions_of.items():
        places[rule, who, tuple(sorted(found))].append(about)
    sentences: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (rule, who, actions), abouts in places.items():
        verb = f"become {now.name}" if now.kind == "trust" else and_so([*actions], 8)
        sentences[rule, who].append(f"{verb} {'; '.join(abouts)}".replace(" ,", ",").strip())
    for (rule, who), said in sentences.items():
        if rule == "permissions.new_identity":
            yield rule, f"{who} may do {_summed(now)}", tuple(said)
        else:
            yield from ((rule, f"{who} may {one}", ()) for one in said)
    yield from ((rule, what, ()) for rule, what in _attached(was, now))


def _summed(holder: Holder) -> str:
    actions = sorted({str(grant.action) for grant in holder.allows})
    if len(actions) <= MOST_ACTIONS:
        return ", ".join(actions)
    return f"{len(actions)} things with {', '.join(sorted({action.split(':')[0] for action in actions}))}"


def _attached(was: Holder, now: Holder) -> Iterator[tuple[str, str]]:
    yield from _denials_lost(was, now.denies)
    for arn in sorted(now.managed - was.managed):
        broad = ADMINISTRATOR.search(arn)
        if was.is_there or broad:
            rule = "permissions.administrator" if broad else "permissions.managed_policy"
            yield rule, f"{now.name} is given {short(arn)}"
    if was.boundary and now.boundary != was.boundary:
        lost = f"{now.name} loses its permissions boundary {short(was.boundary)}"
        yield "permissions.boundary_lost", lost + (f", and gets {short(now.boundary)}" if now.boundary else "")
    for given in sorted(now.held_by - was.held_by) if was.is_there else ():
        yield "permissions.given_to_more", f"policy {now.name} is given to {short(given)} as well"


def _denials_lost(was: Holder, denies: Iterable[Grant]) -> Iterator[tuple[str, str]]:
    lost: dict[str, list[str]] = defaultdict(list)
    for grant in not_within(was.denies, denies):
        lost[_on(grant) + _under(grant.condition)].append(str(grant.action))
    for about, actions in lost.items():
        yield _rule(was, "deny_lost"), f"{_subject(was)} no longer denies {and_so(sorted(set(actions)))} {about}"


def _weigh(grant: Grant, was: Holder, now: Holder) -> tuple[str, str]:
    """The rule, and what there is to say beside who and which actions."""
    about = _on(grant) + _under(grant.condition)
    bound = [one for one in was.allows if grant.within(one, whatever_condition=True)]
    if bound:
        lost = min((_lost(grant, one) for one in bound), key=len)
        dropped = [clause for clause in lost if _is_gone(clause, grant)]
        said = "; ".join(str(clause) for clause in dropped or lost)
        if dropped:
            return _rule(now, "condition_lost"), f"{_on(grant)}, no longer only where {short(said)}"
        return _weakened(grant, lost, now), f"{_on(grant)}{_under(grant.condition)}; it was only where {short(said)}"
    if (rule := _danger(grant, now)) is not None:
        return rule, about + _was(grant, was)
    if now.kind == "trust":
        if not was.is_there and str(grant.principal).startswith("Service:"):
            return "trust.of_new_role", "" if not grant.condition else _under(grant.condition).strip()
        return "trust.new_principal", "" if not grant.condition else _under(grant.condition).strip()
    if not was.is_there:
        return ("permissions.new_identity" if now.kind == "identity" else "exposure.new_policy"), about
    if PRIVILEGED.match(str(grant.action)):
        return "permissions.privileged", about + _was(grant, was)
    if now.kind == "identity":
        return "permissions.new", about + _was(grant, was)
    return "exposure.new_grant", about + _was(grant, was)


def _danger(grant: Grant, holder: Holder) -> str | None:
    """A rule to stop for, whatever was before."""
    action, resource = str(grant.action), grant.resource
    if grant.action.but or resource.but or grant.principal.but:
        return "permissions.all_but"
    if holder.kind == "vpc endpoint":
        keys = {clause.key.lower() for clause in grant.condition if not _is_anything(clause)}
        anywhere = resource.text in ("*", "arn:aws:s3:::*") and not WITHOUT_RESOURCE.fullmatch(action)
        # A way out for data: with any credentials, or into anybody's bucket.
        if action == "*" or (anywhere and not keys & OF_OUR_ACCOUNT) or not keys & WHO_COMES:
            return "exposure.endpoint_policy"
        return None
    if holder.kind != "identity" and (stranger := _stranger(grant, holder)):
        return stranger
    own_root = f"AWS:arn:aws:iam::{holder.account}:root"
    if holder.kind != "identity" and str(grant.principal).replace("${AWS::Partition}", "aws") == own_root:
        return None  # hands the decision to the account's own policies
    if action == "*" or action.endswith(":*"):
        return "permissions.every_action"
    if holder.kind == "identity" and _is_wide(resource.text, action) and not WITHOUT_RESOURCE.fullmatch(action):
        return "permissions.every_resource"
    return None


def _stranger(grant: Grant, holder: Holder) -> str | None:
    area = "trust" if holder.kind == "trust" else "exposure"
    principal = str(grant.principal)
    if principal == ANYBODY or principal == "*" or principal.startswith("AWS:arn:aws:iam::*"):
        return f"{area}.{'bound_anybody' if _binds(grant.condition) else 'anybody'}"
    account = re.search(r"^AWS:(?:arn:[^:]*:(?:iam|sts)::)?(\d{12})", principal.replace("${AWS::Partition}", "aws"))
    if account and account[1] != holder.account:
        return f"{area}.other_account"
    if principal.startswith("Federated:") and not any(_names_a_subject(clause) for clause in grant.condition):
        return f"{area}.anybody"
    return None


def _names_a_subject(clause: Clause) -> bool:
    """Whose token it is: the audience alone is that of everybody who asks the provider."""
    return (
        clause.key.rpartition(":")[2] in ("sub", "repository", "repository_id", "job_workflow_ref", "amr")
        and "Not" not in clause.operator
        and not any(re.fullmatch(r"[*?]+|repo:[^/]*[*?].*", value) for value in clause.values)
    )


def _binds(condition: Iterable[Clause]) -> bool:
    return any(
        BINDS_STRANGERS.fullmatch(clause.key) and "Not" not in clause.operator and not _is_anything(clause)
        for clause in condition
    )


def _is_anything(clause: Clause) -> bool:
    return any(re.fullmatch(r"[*?]*|arn:\*|0\.0\.0\.0/0|::/0", value) for value in clause.values)


def _is_wide(resource: str, action: str) -> bool:
    if resource == "*":
        return True
    service = action.split(":")[0]
    every_one = r"arn:[^:]*:[^:]*:[^:]*:[^:]*:([\w-]+[/:])?\*(/\*)?|arn:\*.*|arn:aws:\*.*"
    return service in PRECIOUS and re.fullmatch(every_one, resource.replace("${AWS::Partition}", "aws")) is not None


def _lost(grant: Grant, before: Grant) -> list[Clause]:
    return [clause for clause in before.condition if not any(mine.implies(clause) for mine in grant.condition)]


def _is_gone(clause: Clause, grant: Grant) -> bool:
    """Nothing is asked of this key any more, or so little that everything passes."""
    mine = [one for one in grant.condition if one.key.lower() == clause.key.lower()]
    return not mine or any(_is_anything(one) for one in mine)


def _weakened(grant: Grant, lost: list[Clause], now: Holder) -> str:
    named = {
        account for clause in grant.condition for value in clause.values for account in re.findall(r"\b\d{12}\b", value)
    }
    before = {account for clause in lost for value in clause.values for account in re.findall(r"\b\d{12}\b", value)}
    if named - before - {now.account}:
        return _rule(now, "other_account")
    if str(grant.principal).startswith("Federated:"):
        return "trust.more_of_a_provider" if any(map(_names_a_subject, grant.condition)) else "trust.anybody"
    return _rule(now, "condition_weakened")


def _rule(holder: Holder, what: str) -> str:
    if holder.kind == "identity":
        return f"permissions.{what}"
    return f"{'trust' if holder.kind == 'trust' else 'exposure'}.{what}"


def _subject(holder: Holder) -> str:
    match holder.kind:
        case "identity":
            return holder.name
        case "trust":
            return f"the trust of {holder.name}"
        case "resource":
            return f"the policy of {holder.name}"
        case "vpc endpoint":
            return f"the policy of VPC endpoint {holder.name}"


def _who(grant: Grant, was: Holder, holder: Holder) -> str:
    if holder.kind == "identity":
        return holder.name if was.is_there else f"{holder.name}, which is new,"
    principal = str(grant.principal)
    who = "anybody" if principal in (ANYBODY, "*") else short(principal.split(":", 1)[-1])
    if holder.kind == "vpc endpoint":
        return f"through VPC endpoint {holder.name}, {who}"
    return who


def _on(grant: Grant) -> str:
    resource = str(grant.resource)
    if resource == "this role":
        return ""
    return f"on {'everything' if resource == '*' else short(resource)}"


def _was(grant: Grant, was: Holder) -> str:
    """The resources of the same action before."""
    alike = [one for one in was.allows if (one.action, one.principal) == (grant.action, grant.principal)]
    same = sorted({short(str(one.resource)) for one in alike})
    return f" (was on {and_so(same, 3)})" if same and grant.resource.text != "this role" else ""


def _under(condition: Iterable[Clause]) -> str:
    said = "; ".join(short(str(clause)) for clause in condition)
    return f", where {said}" if said else ""


def _may_no_longer(fewer: list[Grant]) -> str:
    actions = sorted({str(grant.action) for grant in fewer})
    places = sorted({_on(grant) + _under(grant.condition) for grant in fewer})
    return f"may no longer {and_so(actions, 4)} {and_so(places, 2)}".rstrip()
