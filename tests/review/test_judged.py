"""What is judged by its shape, in the smallest templates that show it; the planted changes do it for real."""

from dataclasses import replace
from typing import Any

import pytest

from review.addresses import is_anywhere
from review.assembly import Assembly, PackFinding, Stack, normalised
from review.changes import Change, change_remarks, fixed_name
from review.findings import finding_remarks
from review.leftovers import leftover_remarks
from review.permissions import permission_remarks
from review.promotions import promotion_remarks
from review.protection import protection_remarks
from review.strangers import Known, stranger_remarks

OURS = "333333333333"
THEIRS = "999999999999"
ROLE = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Statement": []}}}


def side(resources: dict[str, Any], **others: Any) -> Assembly:
    """One environment with one stack."""
    template = {"Resources": resources, **others}
    stack = Stack(
        id="prod/data",
        name="amplify-prod-data",
        account=OURS,
        region="us-east-1",
        termination_protection=False,
        template=normalised(template),
        raw=template,
    )
    return Assembly(stacks={stack.id: stack}, assets={})


def judged(before: dict[str, Any], after: dict[str, Any], **others: Any) -> dict[str, str]:
    """Rule → what is said of one stack, without node and cfn-lint."""
    base, head = side(before), side(after, **others)
    old, new = base.stacks["prod/data"], head.stacks["prod/data"]
    known = Known.of(base, head)
    remarks = (
        *permission_remarks("prod", [old], [new], known.accounts),
        *protection_remarks(old, new),
        *stranger_remarks(old, new, known),
        *leftover_remarks(old, new),
    )
    return {one.rule: one.what for one in remarks}


def policy(*statements: Any, type_: str = "AWS::IAM::RolePolicy", member: str = "PolicyDocument") -> dict[str, Any]:
    return {"One": {"Type": type_, "Properties": {"RoleName": "r", member: {"Statement": [*statements]}}}}


ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
FEW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/b"}


@pytest.mark.parametrize(
    "type_", ["AWS::IAM::RolePolicy", "AWS::IAM::UserPolicy", "AWS::SSO::PermissionSet", "A::B::C"]
)
def test_a_policy_is_found_in_a_resource_of_whatever_type(type_: str) -> None:
    assert "permissions.every_action" in judged({}, policy(ALL, type_=type_))
    assert "permissions.every_action" in judged(
        policy(FEW, type_=type_), policy(FEW, ALL, type_=type_, member="Inline")
    )


def test_a_policy_under_a_condition_allows_what_either_branch_does() -> None:
    either = {"Fn::If": ["Later", ALL, FEW]}
    assert "permissions.every_action" in judged(policy(FEW), policy(either))
    assert judged(policy(either), policy({"Fn::If": ["Later", FEW, ALL]})) == {}
    assert "permissions.narrowed" in judged(policy(either), policy(FEW))


def test_a_denial_under_a_condition_denies_nothing_for_sure() -> None:
    deny = {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}
    maybe = {"Fn::If": ["Later", deny, {"Ref": "AWS::NoValue"}]}
    assert "permissions.deny_lost" in judged(policy(FEW, deny), policy(FEW, maybe))
    assert judged(policy(FEW, deny), policy(FEW, {"Fn::If": ["Later", deny, deny]})) == {}


@pytest.mark.parametrize(
    "statement",
    [
        {"Fn::Transform": {"Name": "Ours"}},
        FEW | {"Action": {"Ref": "Chosen"}},
        FEW | {"Resource": {"Fn::Sub": "arn:aws:s3:::${Chosen}/*"}},
        FEW | {"Action": {"Fn::FindInMap": ["a", "b", "c"]}},
        FEW | {"Effect": {"Ref": "Chosen"}},
    ],
)
def test_a_policy_that_is_made_up_later_stops(statement: dict[str, Any]) -> None:
    chosen = {"Chosen": {"Type": "String", "Default": "x"}}
    assert "permissions.unreadable" in judged(policy(FEW), policy(FEW, statement), Parameters=chosen)
    assert "permissions.unreadable" not in judged(policy(FEW), policy(FEW, FEW))


def test_a_policy_that_is_a_reference_stops() -> None:
    document = {"PolicyName": "p", "PolicyDocument": {"Fn::GetAtt": ["Maker", "Document"]}}
    assert "permissions.unreadable" in judged(
        {}, {"One": {"Type": "AWS::Logs::ResourcePolicy", "Properties": document}}
    )


def test_a_type_that_no_list_knows_is_named() -> None:
    thing = {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": "x"}}
    assert "AWS::IoT::Thing" in judged({}, {"Thing": thing})["change.unknown_type"]
    assert "change.unknown_type" not in judged({}, {"Role": ROLE})


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (f"arn:aws:lambda:us-east-1:{THEIRS}:function:x", "exposure.stranger"),
        ("s3://somebody-elses/model.tar.gz", "exposure.stranger"),
        ("0.0.0.0/1", "exposure.any_address"),
        ("AKIA" + "A" * 16, "exposure.secret"),
        ("-----BEGIN PRIVATE KEY-----", "exposure.secret"),
        ("https://user:word@example.org", "exposure.secret"),
        ("https://example.org/tell", "exposure.elsewhere"),
    ],
)
def test_a_value_tells_a_stranger_or_a_secret_wherever_it_stands(value: str, rule: str) -> None:
    def thing(setting: Any) -> dict[str, Any]:
        return {"Thing": {"Type": "AWS::Any::Thing", "Properties": {"Deep": [{"Setting": setting}]}}}

    assert rule in judged(thing("x"), thing(value))
    assert set(judged(thing(value), thing(value))) == set()
    harmless = (f"arn:aws:lambda:us-east-1:{OURS}:function:x", "10.0.0.0/8", {"Ref": "Bucket"}, "word")
    assert all(set(judged(thing("x"), thing(one))) == {"change.unjudged"} for one in harmless)


def test_what_acts_is_told_with_the_role_that_it_acts_as() -> None:
    function = {"Type": "AWS::Lambda::Function", "Properties": {"Role": {"Fn::GetAtt": ["Role", "Arn"]}}}
    assert judged({}, {"F": function}) == {"permissions.acts": "F (AWS::Lambda::Function) is new: it acts as <Role>"}
    assert "permissions.acts" not in judged({}, {"F": function, "Role": ROLE})


def test_a_value_that_no_check_can_read_is_a_look_and_no_crash() -> None:
    def log(days: Any) -> dict[str, Any]:
        return {"L": {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": days}}}

    assert judged(log(90), log({"Ref": "Days"})).keys() == {"change.unjudged"}


def test_code_from_a_stranger_s_bucket_stops() -> None:
    def function(bucket: str) -> dict[str, Any]:
        return {"F": {"Type": "AWS::Lambda::Function", "Properties": {"Code": {"S3Bucket": bucket}}}}

    assert "exposure.stranger" in judged(function("ours"), function("theirs"))
    assert judged(function("ours"), function("ours")) == {}


def test_a_stack_that_another_role_deploys_stops() -> None:
    old, new = (replace(side({}).stacks["prod/data"], deployed_by={"assumeRoleArn": role}) for role in ("a", "b"))
    assert {one.rule for one in protection_remarks(old, new)} == {"permissions.deployer"}
    assert not [*protection_remarks(old, old)]


def test_a_secret_is_told_by_its_name_too() -> None:
    def function(name: str, value: Any) -> dict[str, Any]:
        return {"F": {"Type": "AWS::Lambda::Function", "Properties": {"Environment": {"Variables": {name: value}}}}}

    assert "exposure.secret" in judged({}, function("DB_PASSWORD", "hunter2"))
    assert "exposure.secret" not in judged({}, function("DB_PASSWORD", "{{resolve:secretsmanager:db:SecretString}}"))
    assert "exposure.secret" not in judged({}, function("DB_NAME", "hunter2"))


def test_an_update_that_no_check_judges_is_told_as_it_was_and_as_it_is() -> None:
    def function(**properties: Any) -> dict[str, Any]:
        return {"F": {"Type": "AWS::Lambda::Function", "Properties": properties}}

    said = judged(function(Handler="a.b", Tags=[1]), function(Handler="c.d", Tags=[2], MemorySize=3))
    assert said == {"change.unjudged": "F: Handler: a.b → c.d"}
    assert judged({"R": ROLE}, {"R": ROLE | {"Condition": "Later"}}).keys() == {"change.conditional"}


def test_an_update_beside_one_that_is_judged_is_not_overlooked() -> None:
    def queue(kept: int, size: int) -> dict[str, Any]:
        return {
            "Q": {"Type": "AWS::SQS::Queue", "Properties": {"MessageRetentionPeriod": kept, "MaximumMessageSize": size}}
        }

    assert judged(queue(9, 1), queue(3, 2)).keys() == {"data.retention", "change.unjudged"}


def changed(type_: str, fate: Any, **others: Any) -> set[str]:
    change = Change(environment="prod", stack="data", id="One", type=type_, fate=fate, **others)
    return {one.rule for one in change_remarks([change])}


def test_what_is_destroyed_is_told_and_a_network_stops() -> None:
    assert changed("AWS::Lambda::Function", "destroyed") == {"change.removed"}
    assert changed("AWS::EC2::Subnet", "destroyed") == {"change.network_removed"}
    assert changed("AWS::CloudWatch::Alarm", "destroyed") == set()  # told with what it watched
    assert judged({"One": {"Type": "AWS::CloudWatch::Alarm"}}, {}).keys() == {"alarm.removed"}


def test_scaling_under_another_id_is_lost_with_the_old_one() -> None:
    endpoint = {"Fn::Join": ["/", ["endpoint", {"Ref": "Endpoint"}]]}
    target = {"Type": "AWS::ApplicationAutoScaling::ScalableTarget", "Properties": {"ResourceId": endpoint}}
    name = fixed_name(target, target)
    assert changed(target["Type"], "renamed", fixed_name=name) == {"change.name_taken"}  # type: ignore[arg-type]


def test_a_longer_session_is_told() -> None:
    longer = {"Type": ROLE["Type"], "Properties": {**ROLE["Properties"], "MaxSessionDuration": 43_200}}  # type: ignore[dict-item]
    assert judged({"R": ROLE}, {"R": longer}).keys() == {"permissions.session_longer"}
    assert judged({"R": longer}, {"R": ROLE}).keys() == {"change.unjudged"}


@pytest.mark.parametrize("written", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/8", "2000::/3"])
def test_half_of_the_internet_is_anywhere(written: str) -> None:
    assert is_anywhere(written)


@pytest.mark.parametrize("written", ["10.0.0.0/8", "192.168.0.0/16", "8.8.8.0/24", "8.8.8.8", "fc00::/7", "sg-1", ""])
def test_a_private_or_a_small_range_is_somewhere(written: str) -> None:
    assert not is_anywhere(written)


@pytest.mark.parametrize(
    ("row", "stops"),
    [
        ((r".*", r"AwsSolutions-L1", "x"), True),
        ((r"\w+/\w+", r":model/\*", "x"), True),
        ((r"people/P", r".*", "x"), True),
        ((r"people/P", r"", "x"), False),
        ((r"people/P|training/T", r":model/\*", "x"), False),
    ],
)
def test_a_reason_that_excuses_everything_stops(row: tuple[str, str, str], stops: bool) -> None:
    known = ("people/Q", "AwsSolutions-L1", "y")
    found = frozenset({PackFinding(pack="p", rule="r", path="prod/x")})
    base = Assembly(stacks={}, assets={}, findings=found, reasons=(known,))
    head = Assembly(stacks={}, assets={}, findings=found, reasons=(known, row))
    assert ("policy.any_finding" in {one.rule for one in finding_remarks(base, head, ["prod"], [])}) == stops


PIN = {
    "model_package_arn": f"arn:aws:sagemaker:us-east-1:{OURS}:model-package/m/1",
    "artifact": {"s3_uri": "s3://ours/model.tar.gz", "sha256": "a"},
    "evaluation": {"loss": 2.7},
    "promoted_from": {
        "environment": "staging",
        "model_package_arn": "arn:aws:sagemaker:us-east-1:222222222222:model-package/m/1",
    },
}
SETTINGS = {
    "staging": {"account": "222222222222"},
    "prod": {"account": OURS, "promotion": {"source": "staging", "loss_margin": 0.01}},
}


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"evaluation": {"loss": 2.6}}, set()),
        ({"evaluation": {"loss": 2.705}}, {"promotion.worse"}),
        ({"evaluation": {"loss": 2.9}}, {"promotion.far_worse"}),
        ({"model_package_arn": PIN["model_package_arn"].replace(OURS, THEIRS)}, {"promotion.foreign"}),  # type: ignore[attr-defined]
        ({"artifact": {"s3_uri": "s3://theirs/model.tar.gz", "sha256": "a"}}, {"promotion.foreign"}),
        ({"promoted_from": None}, {"promotion.foreign"}),
        ({"promoted_from": PIN["promoted_from"] | {"environment": "dev"}}, {"promotion.foreign"}),  # type: ignore[operator]
    ],
)
def test_a_release_is_held_to_the_margin_and_the_places_of_its_environment(
    change: dict[str, Any], rules: set[str]
) -> None:
    remarks = promotion_remarks({"prod": PIN}, {"prod": PIN | change}, SETTINGS, SETTINGS)
    assert {one.rule for one in remarks} - {"promotion.released"} == rules
