"""Across accounts both sides have to say yes: the role's policy in one account, the resource's own in the other."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from environments import DEV, ENVIRONMENTS, PROD, STAGING
from stacks.config import Batch, Environment, SettingsError, checked
from stacks.config.promotion import Promotion, neighbours
from tests.stacks.iam import Call, Statement, allows, named, policies
from tests.stacks.rules.reading import as_list, resource_policies
from tests.stacks.synthesis import only, resources, templates

BY_S3 = {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
HOPS = [(DEV, STAGING), (STAGING, PROD)]
BUCKET = "arn:aws:s3:::amplify-{source}-storage-artifactbucket12ab34cd-5e6f"

ALLOWED = [  # action, resource, context: what `amplify promote` asks of the account that a release comes from
    ("s3:GetObject", BUCKET + "/releases/x/golden.json", {}),
    ("s3:GetObjectVersion", BUCKET + "/runs/r/model/t/output/model.tar.gz", {}),
    ("s3:GetObjectVersion", BUCKET + "/releases/x/model.tar.gz", {}),
    ("s3:ListBucket", BUCKET, {"s3:prefix": "drift/"}),
    ("kms:Decrypt", "arn:aws:kms:us-east-1:{account}:key/1", BY_S3),
    ("ecr:BatchGetImage", "arn:aws:ecr:us-east-1:{account}:repository/amplify-{source}", {}),
    ("ecr:GetDownloadUrlForLayer", "arn:aws:ecr:us-east-1:{account}:repository/amplify-{source}", {}),
    ("ecr:DescribeImages", "arn:aws:ecr:us-east-1:{account}:repository/amplify-{source}", {}),
    ("sagemaker:DescribeModelPackage", "arn:aws:sagemaker:us-east-1:{account}:model-package/amplify-{source}/7", {}),
]
DENIED = [
    ("s3:PutObject", BUCKET + "/releases/x/model.tar.gz", {}),
    ("s3:DeleteObject", BUCKET + "/releases/x/model.tar.gz", {}),
    ("s3:GetObject", BUCKET + "/checkpoints/x", {}),
    ("s3:GetObject", BUCKET + "/captured/amplify-{source}/x", {}),
    ("s3:GetObject", "arn:aws:s3:::amplify-{source}-storage-databucket12ab/proteins/a.fasta", {}),
    ("s3:ListBucket", BUCKET, {"s3:prefix": ""}),
    ("kms:Decrypt", "arn:aws:kms:us-east-1:{account}:key/1", {}),
    ("kms:GenerateDataKey", "arn:aws:kms:us-east-1:{account}:key/1", BY_S3),
    ("ecr:PutImage", "arn:aws:ecr:us-east-1:{account}:repository/amplify-{source}", {}),
    ("sagemaker:UpdateModelPackage", "arn:aws:sagemaker:us-east-1:{account}:model-package/amplify-{source}/7", {}),
    ("sagemaker:CreateModelPackage", "arn:aws:sagemaker:us-east-1:{account}:model-package-group/amplify-{source}", {}),
]


def role_arn(target: Environment) -> str:
    return f"arn:aws:iam::{target.account}:role/amplify-{target.name}-promotion"


def statements_of_role(target: Environment) -> Sequence[Statement]:
    return dict(policies(templates()[f"{target.name}/promotion"], target.account))["PromotionRole"]


def statements_of_resources(source: Environment, principal: str) -> Iterator[Statement]:
    """What the policies of the source's artifact bucket, key, repository and group say to a role of another account.

    Their resources are themselves: the generated names are put in, as AWS will have made them.
    """
    root = f"arn:aws:iam::{principal.split(':')[4]}:root"
    for stack in ("storage", "registry"):
        for id_, statement in resource_policies(templates()[f"{source.name}/{stack}"]):
            told = named(statement, source.account)
            to: Any = told["Principal"]
            if id_.startswith(("DataBucket", "AccessLog")) or not (
                to in ("*", {"AWS": "*"}) or (isinstance(to, dict) and root in as_list(to.get("AWS", [])))
            ):
                continue
            itself = {
                "Key": f"arn:aws:kms:us-east-1:{source.account}:key/1",
                "Repository": f"arn:aws:ecr:us-east-1:{source.account}:repository/amplify-{source.name}",
            }
            given = itself.get(id_[:-8], told.get("Resource"))
            bucket = BUCKET.format(source=source.name)
            placed = [str(one).replace("arn:aws:s3:::<ArtifactBucket>", bucket) for one in as_list(given)]
            yield {**{key: value for key, value in told.items() if key != "Principal"}, "Resource": placed}


def may(source: Environment, target: Environment, principal: str, one: tuple[str, str, dict[str, str]]) -> bool:
    action, resource, context = one
    about = {
        "aws:PrincipalArn": principal,
        "aws:ResourceAccount": source.account,
        "aws:SecureTransport": "true",
        "s3:TlsVersion": "1.3",
        **context,
    }
    resource = resource.format(source=source.name, account=source.account)
    call = Call(action=action, resource=resource, context=about)
    return allows(statements_of_role(target), call) and allows([*statements_of_resources(source, principal)], call)


@pytest.mark.parametrize(("source", "target"), HOPS, ids=["dev-staging", "staging-prod"])
@pytest.mark.parametrize("one", ALLOWED, ids=lambda one: f"{one[0]} {one[1].rpartition(':')[2]}")
def test_the_promotion_role_fetches_what_a_release_is_made_of(
    source: Environment, target: Environment, one: tuple[str, str, dict[str, str]]
) -> None:
    assert may(source, target, role_arn(target), one)


@pytest.mark.parametrize(("source", "target"), HOPS, ids=["dev-staging", "staging-prod"])
@pytest.mark.parametrize("one", DENIED, ids=lambda one: f"{one[0]} {one[1].rpartition(':')[2]}")
def test_it_changes_nothing_there_and_reads_nothing_else(
    source: Environment, target: Environment, one: tuple[str, str, dict[str, str]]
) -> None:
    assert not may(source, target, role_arn(target), one)


@pytest.mark.parametrize(
    "principal",
    [
        f"arn:aws:iam::{STAGING.account}:role/admin",
        f"arn:aws:iam::{STAGING.account}:role/amplify-staging-promotion-2",
        f"arn:aws:iam::{STAGING.account}:user/amplify-staging-promotion",
        f"arn:aws:iam::{PROD.account}:role/amplify-staging-promotion",
        role_arn(PROD),
    ],
)
def test_nobody_else_is_let_in_whatever_their_own_account_allows_them(principal: str) -> None:
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    for one in ALLOWED:
        action, resource, context = one
        resource = resource.format(source="dev", account=DEV.account)
        about = {"aws:PrincipalArn": principal, "aws:SecureTransport": "true", "s3:TlsVersion": "1.3", **context}
        call = Call(action=action, resource=resource, context=about)
        assert allows(everything, call)
        assert not allows([*statements_of_resources(DEV, principal)], call), one


def test_roles_of_promotion_have_fixed_names_and_trust_their_own_account_alone() -> None:
    for environment in (DEV, STAGING, PROD):
        found = resources(templates()[f"{environment.name}/promotion"], "AWS::IAM::Role").values()
        kinds = {"release"} | ({"promotion"} if environment.promotion else set())
        assert {role["Properties"]["RoleName"] for role in found} == {f"amplify-{environment.name}-{k}" for k in kinds}
    policy = only(templates()["staging/promotion"], "AWS::IAM::ManagedPolicy")
    assert policy["ManagedPolicyName"] == "amplify-staging-promoter"


def test_an_environment_that_takes_no_part_names_no_other_account() -> None:
    assert "local/promotion" not in templates()
    for source, others in (("local", (DEV, STAGING, PROD)), ("dev", (PROD,)), ("prod", (DEV, STAGING))):
        for stack in ("storage", "registry"):
            told = str(templates()[f"{source}/{stack}"])
            assert not [one.account for one in others if one.account in told]


# ---- settings --------------------------------------------------------------------------------------------------------


def changed(**promotions: Promotion | None) -> dict[str, Environment]:
    return {
        name: replace(environment, promotion=promotions.get(name, environment.promotion))
        for name, environment in ENVIRONMENTS.items()
    }


def test_neighbours_are_whom_releases_come_from_and_go_to() -> None:
    found = neighbours(ENVIRONMENTS)
    assert not found["local"].any
    assert (found["dev"].source, found["dev"].targets) == (None, (STAGING,))
    assert (found["staging"].source, found["staging"].targets) == (DEV, (PROD,))
    assert (found["prod"].source, found["prod"].targets) == (STAGING, ())


@pytest.mark.parametrize(
    ("promotions", "message"),
    [
        ({"staging": Promotion(source="dve")}, "staging.promotion.source is 'dve': give one of local, dev"),
        ({"staging": Promotion(source="prod")}, "prod.promotion.source leads in a circle, prod from staging from prod"),
        ({"staging": Promotion(source="staging")}, "in a circle, staging from staging"),
    ],
)
def test_releases_that_come_from_nowhere_are_refused(promotions: dict[str, Promotion], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        checked(*changed(**promotions).values())
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "Dev"}, "source is 'Dev': give the name of an environment"),
        ({"source": "dev", "loss_margin": 2}, "loss_margin is 2: give a number from 0 to 0.5"),
        ({"source": "dev", "loss_margin": float("nan")}, "loss_margin is nan"),
        ({"source": "dev", "tolerance": True}, "tolerance is True: give a number from 0 to 1"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        Promotion(**given).check()
    assert message in str(error.value)


def test_only_an_endpoint_that_answers_at_once_can_be_watched_while_a_release_goes_live() -> None:
    with pytest.raises(SettingsError, match="promotion is given, and the endpoint is of mode batch"):
        replace(STAGING, endpoint=Batch(instance_type="ml.g5.xlarge")).check()
