"""Who deploys, who looks, and what bounds them: by the templates that a person deploys, and IAM's own evaluation."""

import functools
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from environments import DEV, ENVIRONMENTS, PROD
from stacks.config import Delivery, SettingsError
from stacks.config.delivery import BOUNDARY, DEPLOYMENT_BOUNDARY, targets
from stacks.delivery_rights import BOUNDED, BOUNDED_MODELS, NO_DRIFT, READS
from tests.stacks.iam import Call, Statement, allows, boundaries, bounds, matches
from tests.stacks.rules.reading import as_list
from tests.stacks.synthesis import (
    DELIVERY,
    ROOT,
    Template,
    all_templates,
    delivery_of,
    delivery_templates,
    resources,
    templates,
    variants,
)
from tests.stacks.test_attacks import ATTACKS, RECORDED, SERVICE_CALLS, calls, everybody

ADMINISTRATOR = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
ACCOUNT = DEV.account
ROLE = f"arn:aws:iam::{ACCOUNT}:role/amplify-dev-training-TrainRole-x"
BOUND = {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/{BOUNDARY}"}


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"repository": "amplify"}, "repository is 'amplify': give a GitHub repository as its tokens name it, owner/n"),
        ({"repository": "https://github.com/o/r"}, "repository is 'https://github.com/o/r': give a GitHub repository"),
        ({"repository": "o/*"}, "repository is 'o/*': give"),
        ({"repository": "-o/r"}, "repository is '-o/r': give"),
        ({"repository": "o@12/r"}, "repository is 'o@12/r': give"),
        ({"repository": "o/r@12"}, "repository is 'o/r@12': give"),
        ({"repository": "o/r:environment:prod"}, "repository is 'o/r:environment:prod': give"),
        ({"repository": None}, "repository is None: give"),
        ({"branch": "*"}, "branch is '*': give the name of one branch, such as main"),
        ({"branch": ""}, "branch is '': give"),
        ({"provider_exists": "yes"}, "provider_exists is 'yes': give True or False"),
    ],
)
def test_a_delivery_that_trusts_the_wrong_ones_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=f"{re.escape(message)}"):
        Delivery(**{"repository": "o/r", **changed}).check()


def test_all_faults_of_a_delivery_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"(?s)repository is .*branch is .*provider_exists is "):
        Delivery(repository="x", branch="a b", provider_exists=1).check()  # type: ignore[arg-type]


def test_a_workflow_is_told_the_roles_of_its_own_repository_only() -> None:
    of_ours = targets(Delivery(repository="Example@1/amplify@2"), ENVIRONMENTS.values(), "example/amplify")
    assert list(of_ours) == ["dev", "staging", "prod"]
    assert of_ours["prod"] == {
        "region": "us-east-1",
        "deploy_role": "arn:aws:iam::333333333333:role/amplify-prod-deploy",
        "drift_role": "arn:aws:iam::333333333333:role/amplify-prod-drift",
    }
    assert targets(DELIVERY, ENVIRONMENTS.values(), "fork/amplify") == {}
    assert targets(None, ENVIRONMENTS.values(), "example/amplify") == {}


@pytest.mark.parametrize("name", ["a b", "", "arn:aws:iam::1:policy/x", 7])
def test_a_boundary_that_iam_would_not_take_is_refused(name: Any) -> None:
    with pytest.raises(SettingsError, match=r"permissions_boundary is .*give the name of a managed policy"):
        replace(DEV, permissions_boundary=name).check()


def test_no_environment_is_called_like_the_accounts_own_stage() -> None:
    with pytest.raises(SettingsError, match="name is 'delivery'"):
        replace(DEV, name="delivery").check()


# ---- the stacks ------------------------------------------------------------------------------------------------------


def roles(template: Template) -> dict[str, dict[str, Any]]:
    found = resources(template, "AWS::IAM::Role").values()
    return {role["Properties"]["RoleName"]: role["Properties"] for role in found}


def claims(template: Template, role: str) -> dict[str, str]:
    [statement] = roles(template)[role]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
    return {key.rpartition(":")[2]: value for key, value in statement["Condition"]["StringEquals"].items()}


def test_each_account_has_one_stack_and_local_aws_has_none() -> None:
    assert list(delivery_templates()) == ["delivery/dev", "delivery/staging", "delivery/prod"]


def test_two_environments_of_one_account_share_its_stack() -> None:
    both = delivery_of(DELIVERY, DEV, replace(PROD, account=DEV.account))
    assert list(both) == ["delivery/dev-prod"]
    template = both["delivery/dev-prod"]
    assert len(resources(template, "AWS::IAM::OIDCProvider")) == 1
    assert set(roles(template)) == {f"amplify-{env}-{kind}" for env in ("dev", "prod") for kind in ("deploy", "drift")}
    bounded = boundaries(template, DEV.account)[DEPLOYMENT_BOUNDARY]
    for env in ("dev", "prod"):
        call = Call(action="iam:DeleteRole", resource=f"arn:aws:iam::{DEV.account}:role/amplify-{env}-x")
        assert allows(ADMINISTRATOR, call, bounded)


def test_a_deploy_role_is_for_one_environment_of_the_repository_and_a_drift_role_for_its_branch() -> None:
    trusted = delivery_of(Delivery(repository="o@1/r@2", branch="trunk"), PROD)["delivery/prod"]
    assert claims(trusted, "amplify-prod-deploy") == {
        "aud": "sts.amazonaws.com",
        "sub": "repo:o@1/r@2:environment:prod",
        "ref": "refs/heads/trunk",
    }
    assert claims(trusted, "amplify-prod-drift") == {
        "aud": "sts.amazonaws.com",
        "sub": "repo:o@1/r@2:ref:refs/heads/trunk",
        "ref": "refs/heads/trunk",
    }


def test_an_identity_provider_that_is_there_is_used_and_not_made() -> None:
    template = delivery_of(Delivery(repository="o/r", provider_exists=True), PROD)["delivery/prod"]
    assert resources(template, "AWS::IAM::OIDCProvider") == {}
    for role in roles(template).values():
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        provider = json.dumps(statement["Principal"]["Federated"])
        assert provider.endswith(':oidc-provider/token.actions.githubusercontent.com"')


def test_without_a_delivery_the_environments_are_what_they_were() -> None:
    assert not any(stack.startswith("delivery/") for stack in templates())
    assert not any(bounds(template) for template in templates().values())


def test_inline_policies_fit_into_what_iam_takes() -> None:
    """10,240 characters of all inline policies of a role, whitespace not counted."""
    for template in delivery_templates().values():
        for policy in resources(template, "AWS::IAM::Policy").values():
            assert len(json.dumps(policy["Properties"]["PolicyDocument"], separators=(",", ":"))) < 10_240
        for policy in resources(template, "AWS::IAM::ManagedPolicy").values():
            assert len(json.dumps(policy["Properties"]["PolicyDocument"], separators=(",", ":"))) < 6_144


# ---- the role that looks ---------------------------------------------------------------------------------------------

UNWANTED = {  # in a type's read handler, and not given
    "iam:PassRole": "reading hands on no role",
    "kms:Decrypt": "of functions whose variables have a key of ours: none have; it would decrypt all else too",
    "billing:GetBillingViewData": "of budgets over a billing view: ours are the account's",
    "vpc-lattice:DescribeServiceNetworkVpcEndpointAssociation": "of endpoints into a service network: we have none",
}


def read_by_cloudformation(type_: str) -> set[str] | None:
    """What the type's own schema says that reading one asks for; None where it cannot be read."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_).schema
    return set(schema["handlers"]["read"]["permissions"]) if "read" in schema.get("handlers", {}) else None


def types_of_environments() -> set[str]:
    of_them = (one for stack, one in all_templates().items() if not stack.startswith("delivery/"))
    return {resource["Type"] for template in of_them for resource in template["Resources"].values()}


def test_every_type_of_every_template_can_be_read_or_is_known_to_have_no_drift() -> None:
    assert types_of_environments() == set(READS) | set(NO_DRIFT)
    assert not set(READS) & set(NO_DRIFT)


@pytest.mark.parametrize("type_", sorted(READS))
def test_a_type_is_read_by_what_cloudformations_schema_says(type_: str) -> None:
    wanted = read_by_cloudformation(type_)
    if type_ == "AWS::CodeBuild::Project":  # CloudFormation's own, older code reads it: no schema says how
        assert wanted is None
        wanted = {"codebuild:BatchGetProjects"}
    assert wanted is not None
    assert set(READS[type_].actions) == wanted - set(UNWANTED)


def test_what_is_not_given_is_asked_for_somewhere() -> None:
    asked = set().union(*(read_by_cloudformation(type_) or set() for type_ in READS))
    assert set(UNWANTED) <= asked


@pytest.mark.parametrize("type_", [type_ for type_ in sorted(NO_DRIFT) if not type_.startswith("Custom::")])
def test_a_type_without_drift_cannot_be_read(type_: str) -> None:
    assert read_by_cloudformation(type_) is None


LOOKERS = ("delivery/dev/DevDriftRole", "dev/people/DriftPolicy")  # the nightly workflow, and auditors


def looks(action: str, resource: str, **context: str) -> bool:
    """The same of both."""
    call = Call(action=action, resource=resource, context=context)
    [may] = {allows(everybody()[looker][2], call) for looker in LOOKERS}
    return may


@pytest.mark.parametrize("looker", LOOKERS)
def test_who_looks_for_drift_changes_nothing(looker: str) -> None:
    _, _, statements = everybody()[looker]
    actions = {action for one in statements for action in as_list(one["Action"])}
    reading = re.compile(r"\w[\w-]*:(Get|List|Describe|BatchGet|View|Detect)\w+")
    assert {action for action in actions if not reading.fullmatch(action)} == set()


def test_who_looks_reads_settings_and_nothing_that_is_kept() -> None:
    assert looks("s3:GetEncryptionConfiguration", "arn:aws:s3:::amplify-dev-storage-databucket-x")
    assert looks("s3:ListBucket", "arn:aws:s3:::amplify-dev-storage-databucket-x")  # as S3 tells that a bucket is there
    assert not looks("s3:GetObject", "arn:aws:s3:::amplify-dev-storage-databucket-x/proteins/a.fasta")
    assert not looks("logs:GetLogEvents", f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:amplify-dev-x:*")
    key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"
    tags = {"aws:ResourceTag/project": "amplify", "aws:ResourceTag/environment": "dev"}
    assert looks("kms:GetKeyPolicy", key, **tags)
    assert not looks("kms:GetKeyPolicy", key)
    assert not looks("kms:GetKeyPolicy", key, **(tags | {"aws:ResourceTag/environment": "prod"}))
    assert not looks("kms:Decrypt", key, **tags)


def test_who_looks_sees_one_environment() -> None:
    stack = f"arn:aws:cloudformation:us-east-1:{ACCOUNT}:stack/amplify-{{}}-storage/1b"
    assert looks("cloudformation:DetectStackDrift", stack.format("dev"))
    assert not looks("cloudformation:DetectStackDrift", stack.format("prod"))
    assert not looks("cloudformation:DetectStackDrift", stack.format("dev").replace("amplify-dev", "payroll"))
    assert not looks("iam:GetRole", f"arn:aws:iam::{ACCOUNT}:role/payroll")


def test_the_key_carries_the_tags_by_which_it_is_found() -> None:
    [key] = resources(templates()["dev/storage"], "AWS::KMS::Key").values()
    tags = {tag["Key"]: tag["Value"] for tag in key["Properties"]["Tags"]}
    assert DEV.tags.items() <= tags.items()


# ---- what bounds the roles that a deployment makes -------------------------------------------------------------------


@functools.cache
def bounded(policy: str) -> list[Statement]:
    return boundaries(delivery_templates()["delivery/dev"], ACCOUNT)[policy]


def actions_of_roles() -> dict[str, set[str]]:
    """What the policies name of everybody whose role a deployment makes; a notebook's role has two of people's."""
    of_people_alone = r"/(people/(Approver|Deployer|Auditor|Drift)|workbench/Workbench|promotion/Promoter)Policy$"
    return {
        who: {action for one in statements for action in as_list(one["Action"])}
        for who, (_, _, statements) in everybody().items()
        if not who.startswith("delivery/") and not re.search(of_people_alone, who)
    }


def test_every_action_of_every_role_lies_inside_the_boundary() -> None:
    named = {f"{service}:{action}" for service, actions in BOUNDED.items() for action in actions} | {"iam:PassRole"}
    named |= {f"sagemaker:{action}" for action in BOUNDED_MODELS}
    assert {who: more for who, actions in actions_of_roles().items() if (more := actions - named)} == {}
    assert named - set().union(*actions_of_roles().values()) == set(), "no role does these any more: remove them"


def test_what_roles_did_in_the_strict_run_and_what_aws_does_with_them_lies_inside_the_boundary() -> None:
    done = {action for rows in RECORDED.values() for action, _, _ in rows} | {row["action"] for row in SERVICE_CALLS}
    context = {"iam:PassedToService": "sagemaker.amazonaws.com"}
    outside = {
        action
        for action in done
        if not allows(ADMINISTRATOR, Call(action=action, resource=ROLE, context=context), bounded(BOUNDARY))
    }
    assert outside == set()


@pytest.mark.parametrize("who", [who for who in sorted(everybody()) if who.startswith("bounded-dev/")])
def test_a_bounded_role_may_do_in_its_bounds_what_its_policies_allow(who: str) -> None:
    """Each statement's own actions on its own resources, under what it asks for."""
    if who.endswith("Policy"):
        return
    stack, _, role = who.rpartition("/")
    assert bounds(variants()[stack])[role] == BOUNDARY
    _, _, statements = everybody()[who]
    for one in statements:
        context = {
            key: as_list(value)[0].replace("*", "x")
            for operator in one.get("Condition", {}).values()
            for key, value in operator.items()
        }
        for action in as_list(one["Action"]):
            for resource in as_list(one["Resource"]):
                resource = re.sub(r":role/<\w+>", ":role/amplify-dev-x", resource)  # as CloudFormation will call it
                call = Call(action=action, resource=resource.replace("*", "x"), context=context)
                own = [{**one, "Resource": "*"}]
                assert allows(own, call, bounded(BOUNDARY)), call


STOPPED_BY_THE_BOUNDARY = {  # every call of these, though an administrator's policy were attached to the role
    *("become an administrator", "change policies", "pass a role to a service that runs code"),
    *("pass an administrator's role to a job", "destroy our key", "take models away", "change code that runs"),
    *("look for what was changed by hand", "look for it where nothing is ours"),
    *("open a notebook", "change a notebook", "deploy", "approve models", "change what is served"),
    *("watch and record a release", "copy from another account"),  # a role of the environment assumes no other
    *("see which models there are", "see which proteins there are, and were"),
}
BY_GENERATED_NAMES = "pass a job's role to a job"  # tried on a stand-in for a name, which no ARN of a boundary matches


@pytest.mark.parametrize("attack", sorted(STOPPED_BY_THE_BOUNDARY))
def test_no_policy_attached_to_a_bounded_role_makes_an_attack_succeed(attack: str) -> None:
    tried = list(calls(attack, ACCOUNT, "amplify-dev"))
    assert tried
    assert all(allows(ADMINISTRATOR, call) for call in tried)
    assert [call for call in tried if allows(ADMINISTRATOR, call, bounded(BOUNDARY))] == []


def test_the_list_of_attacks_that_the_boundary_stops_is_whole() -> None:
    stopped = {
        attack
        for attack in ATTACKS
        if not any(allows(ADMINISTRATOR, call, bounded(BOUNDARY)) for call in calls(attack, ACCOUNT, "amplify-dev"))
    }
    assert stopped - {BY_GENERATED_NAMES} == STOPPED_BY_THE_BOUNDARY


# ---- what bounds the deployment --------------------------------------------------------------------------------------


def deploys_under(context: dict[str, str], action: str, resource: str = ROLE) -> bool:
    """Whether CloudFormation's role of the bootstrap, an administrator, may in these bounds."""
    return allows(ADMINISTRATOR, Call(action=action, resource=resource, context=context), bounded(DEPLOYMENT_BOUNDARY))


CHANGES = ("CreateRole", "PutRolePermissionsBoundary", "AttachRolePolicy", "PutRolePolicy", "DeleteRolePolicy")


@pytest.mark.parametrize("action", CHANGES)
def test_a_deployment_makes_and_changes_roles_with_the_boundary_on_them_and_no_others(action: str) -> None:
    assert deploys_under(BOUND, f"iam:{action}")
    assert not deploys_under({}, f"iam:{action}")
    assert not deploys_under(
        {"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}, f"iam:{action}"
    )
    other = f"arn:aws:iam::{ACCOUNT}:policy/{DEPLOYMENT_BOUNDARY}"
    assert not deploys_under({"iam:PermissionsBoundary": other}, f"iam:{action}")
    assert not deploys_under(BOUND, f"iam:{action}", f"arn:aws:iam::{ACCOUNT}:role/payroll")


OURS = [
    *(f"arn:aws:iam::{ACCOUNT}:policy/{policy}" for policy in (BOUNDARY, DEPLOYMENT_BOUNDARY)),
    *(f"arn:aws:iam::{ACCOUNT}:role/amplify-dev-{role}" for role in ("deploy", "drift")),
    f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com",
]
ALTERING = (
    *("iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion", "iam:DeletePolicyVersion", "iam:DeletePolicy"),
    *("iam:DeleteRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:UpdateRole"),
    *("iam:PutRolePermissionsBoundary", "iam:AddClientIDToOpenIDConnectProvider", "iam:DeleteOpenIDConnectProvider"),
)


@pytest.mark.parametrize("what", OURS)
def test_a_deployment_alters_nothing_of_the_delivery(what: str) -> None:
    assert [action for action in ALTERING if deploys_under(BOUND, action, what)] == []


ELSEWHERE = [
    ("iam:DeleteRolePermissionsBoundary", ROLE),
    ("iam:CreateUser", f"arn:aws:iam::{ACCOUNT}:user/mallory"),
    ("iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/mallory"),
    ("iam:CreateLoginProfile", f"arn:aws:iam::{ACCOUNT}:user/mallory"),
    ("iam:AttachUserPolicy", f"arn:aws:iam::{ACCOUNT}:user/mallory"),
    ("iam:CreateGroup", f"arn:aws:iam::{ACCOUNT}:group/mallory"),
    ("iam:CreateOpenIDConnectProvider", f"arn:aws:iam::{ACCOUNT}:oidc-provider/evil.example"),
    ("iam:CreateSAMLProvider", f"arn:aws:iam::{ACCOUNT}:saml-provider/evil"),
    ("iam:UpdateAssumeRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/OrganizationAccountAccessRole"),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/payroll"),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1"),
    ("iam:CreatePolicyVersion", f"arn:aws:iam::{ACCOUNT}:policy/payroll"),
    ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/payroll"),
    ("organizations:LeaveOrganization", "*"),
    ("account:CloseAccount", "*"),
    ("sso:CreateAccountAssignment", "*"),
]


@pytest.mark.parametrize(("action", "resource"), ELSEWHERE)
def test_a_deployment_makes_no_people_and_gets_no_more_than_it_has(action: str, resource: str) -> None:
    assert not deploys_under(BOUND, action, resource)


def test_nobody_becomes_an_administrator_by_a_deployment() -> None:
    tried = list(calls("become an administrator", ACCOUNT, "amplify-dev"))
    assert [call for call in tried if allows(ADMINISTRATOR, call, bounded(DEPLOYMENT_BOUNDARY))] == []


def services_of_templates() -> set[str]:
    """Of what CloudFormation asks for, to make, change, read and remove each type of ours, as its schemas say."""
    found = set()
    for type_ in types_of_environments():
        if not type_.startswith("Custom::"):
            handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_).schema.get("handlers", {})
            found |= {action for handler in handlers.values() for action in handler.get("permissions", [])}
    return found


NEVER = {  # asked for by a schema, and refused
    "iam:DeleteRolePermissionsBoundary": "takes a boundary off a role",
    "iam:AttachGroupPolicy": "of managed policies that name groups: ours name roles",
    "iam:AttachUserPolicy": "of managed policies that name users: ours name roles",
    "iam:DetachGroupPolicy": "as above",
    "iam:DetachUserPolicy": "as above",
    "iam:DeleteGroupPolicy": "of inline policies of groups",
    "iam:DeleteUserPolicy": "of inline policies of users",
    "iam:PutGroupPolicy": "of inline policies of groups",
    "iam:PutUserPolicy": "of inline policies of users",
}


def test_a_deployment_may_do_all_that_cloudformation_needs_for_our_templates() -> None:
    where = {"Policy": f"arn:aws:iam::{ACCOUNT}:policy/amplify-dev-x", "": ROLE}
    linked = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/x"
    refused = set()
    for action in services_of_templates():
        of_policies = re.fullmatch(r"iam:\w+Polic(y|yVersion)", action) and "Role" not in action
        resource = linked if action == "iam:CreateServiceLinkedRole" else where["Policy" if of_policies else ""]
        if not deploys_under(BOUND, action, resource):
            refused.add(action)
    assert refused == set(NEVER)


def test_names_that_cloudformation_makes_up_are_those_that_the_boundary_lets_it_make() -> None:
    """They begin with the stack's name; and policies of people have theirs."""
    for stack, template in variants().items():
        if not stack.startswith("bounded-dev/"):
            continue
        for role in resources(template, "AWS::IAM::Role").values():
            assert "RoleName" not in role["Properties"]
        for policy in resources(template, "AWS::IAM::ManagedPolicy").values():
            name = policy["Properties"]["ManagedPolicyName"]
            assert matches(name, "amplify-dev-*")
            assert not policy["Properties"].get("Roles"), "a role of somebody else's has no boundary of ours"


def test_the_boundaries_are_called_what_the_documents_call_them() -> None:
    page = (ROOT / "docs" / "real-account.md").read_text(encoding="utf-8")
    assert f"--custom-permissions-boundary {DEPLOYMENT_BOUNDARY}" in page
    assert f'permissions_boundary="{BOUNDARY}"' in page
