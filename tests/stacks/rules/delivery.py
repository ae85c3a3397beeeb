"""What must hold of who deploys and of what bounds them."""

import json
import re
from collections.abc import Iterable

from tests.stacks.iam import is_boundary
from tests.stacks.readable import plain
from tests.stacks.rules.reading import allowing, as_list
from tests.stacks.synthesis import Template, resources

OF_RELEASES = (
    re.compile(  # stacks/promotion.py, its own two: as they are, and by name where deployers and workflows assume them
        r"\$\{(Promotion|Release)Role[0-9A-F]{8}\.Arn\}|arn:aws:iam::\d{12}:role/amplify-[a-z0-9-]+-(release|promotion)"
    )
)
GITHUB = "token.actions.githubusercontent.com"
BOOTSTRAP = re.compile(r"arn:aws:iam::\d{12}:role/cdk-hnb659fds-(deploy|file-publishing|lookup)-role-\d{12}-[\w-]+")


def roles_of_workflows_trust_one_place_of_one_repository(template: Template) -> Iterable[str]:
    """The audience, the subject and the branch of GitHub's tokens, each as it is and none by a pattern."""
    for id_, role in resources(template, "AWS::IAM::Role").items():
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            if "Federated" not in statement["Principal"]:
                continue
            provider = plain(statement["Principal"]["Federated"])
            if not (provider == "${GitHub.Arn}" or provider.endswith(f":oidc-provider/{GITHUB}")):
                yield f"{id_} trusts {provider}"
            if set(statement.get("Condition", {})) != {"StringEquals"}:
                yield f"{id_} trusts tokens by a pattern, or all of them"
                continue
            claims = {key.rpartition(":")[2]: value for key, value in statement["Condition"]["StringEquals"].items()}
            if claims.get("aud") != "sts.amazonaws.com":
                yield f"{id_} trusts tokens that are for others"
            if not re.fullmatch(r"repo:[^/:*]+/[^/:*]+:(environment|ref):[^:*]+", str(claims.get("sub"))):
                yield f"{id_} trusts more than one place of one repository"
            if not re.fullmatch(r"refs/heads/[^*]+", str(claims.get("ref"))):
                yield f"{id_} trusts every branch"


def only_the_roles_of_workflows_and_deployers_assume_others(template: Template) -> Iterable[str]:
    """And those of the CDK's bootstrap, which deploy, but not CloudFormation's own."""
    for id_, statement in allowing(template):
        if any(action.startswith("sts:") for action in as_list(statement["Action"])):
            for resource in as_list(plain(statement["Resource"])):
                if not (
                    BOOTSTRAP.fullmatch(resource.replace("${AWS::Partition}", "aws")) or OF_RELEASES.fullmatch(resource)
                ):
                    yield f"{id_} assumes {resource}"


def boundaries_are_nobodys_policies(template: Template) -> Iterable[str]:
    for id_, policy in resources(template, "AWS::IAM::ManagedPolicy").items():
        if not is_boundary(id_):
            continue
        for holders in ("Roles", "Users", "Groups"):
            if policy["Properties"].get(holders):
                yield f"{id_} is given to {holders.lower()}, to whom it is a permission"
        for role_id, role in resources(template, "AWS::IAM::Role").items():
            if f'"{id_}"' in json.dumps(role["Properties"].get("ManagedPolicyArns", [])):
                yield f"{id_} is given to {role_id}, to whom it is a permission"


def an_environment_bounds_all_its_roles_or_none(template: Template) -> Iterable[str]:
    roles = resources(template, "AWS::IAM::Role")
    without = sorted(id_ for id_, role in roles.items() if "PermissionsBoundary" not in role["Properties"])
    if 0 < len(without) < len(roles):
        yield f"{without} have no boundary, the others have"
