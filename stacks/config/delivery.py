"""Who deploys: the GitHub repository whose workflows the accounts trust, and what the trusted roles are called."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stacks.config.checks import not_matching
from stacks.config.environment import Environment
from stacks.config.settings import Settings

LOCAL = "local"
"""The one environment that no workflow deploys: an AWS of one machine."""

BOUNDARY = "amplify-boundary"
"""The managed policy that bounds the roles that a deployment makes."""

DEPLOYMENT_BOUNDARY = "amplify-deployment-boundary"
"""The managed policy that bounds the deployment itself: for `cdk bootstrap --custom-permissions-boundary`."""

# https://docs.github.com/en/enterprise-cloud@latest/admin/identity-and-access-management, usernames, for the owner;
# repositories have letters, digits, hyphens, dots and underscores.
_OWNER, _NAME, _ID = r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}", r"[A-Za-z0-9._-]{1,100}", r"@[1-9]\d*"
REPOSITORY = rf"{_OWNER}/{_NAME}|{_OWNER}{_ID}/{_NAME}{_ID}"
BRANCH = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}"


@dataclass(frozen=True, kw_only=True)
class Delivery(Settings):
    """Deployment by GitHub Actions, without a stored key: each account trusts one repository's tokens."""

    repository: str
    """As GitHub's tokens name it: owner/name, or owner@id/name@id where the repository was made, renamed or moved since
    15 July 2026, or was told to (*Settings → Actions → OIDC* shows which). A wrong form is refused by AWS with "Not
    authorized to perform sts:AssumeRoleWithWebIdentity".
    https://docs.github.com/en/actions/reference/security/oidc#immutable-subject-claims
    """

    branch: str = "main"
    """What is deployed is what lies there, whatever a GitHub environment lets through."""

    provider_exists: bool = False
    """Whether the accounts have GitHub's identity provider already. An account can have one only, whoever made it."""

    def _faults(self) -> Iterable[str]:
        named = "a GitHub repository as its tokens name it, owner/name or owner@id/name@id"
        yield from not_matching("repository", self.repository, REPOSITORY, named)
        yield from not_matching("branch", self.branch, BRANCH, "the name of one branch, such as main")

    @property
    def repository_name(self) -> str:
        """owner/name, as `GITHUB_REPOSITORY` has it in a workflow."""
        return re.sub(_ID, "", self.repository)


def deploy_role_name(environment: Environment) -> str:
    """Of the role that deploys it."""
    return f"{environment.resource_name}-deploy"


def drift_role_name(environment: Environment) -> str:
    """Of the role that looks whether somebody changed it by hand."""
    return f"{environment.resource_name}-drift"


def delivered(environments: Iterable[Environment]) -> Mapping[str, Sequence[Environment]]:
    """The environments that workflows deploy, by account: IAM is one for all regions of an account."""
    accounts: dict[str, list[Environment]] = {}
    for environment in environments:
        if environment.name != LOCAL:
            accounts.setdefault(environment.account, []).append(environment)
    return accounts


def targets(
    delivery: Delivery | None, environments: Iterable[Environment], repository: str
) -> dict[str, Mapping[str, str]]:
    """What a workflow of `repository` (owner/name) has to know to deploy, by environment; nothing where no trust is.

    A fork, or a project without delivery, so has nothing to deploy and nothing that fails.
    """
    if delivery is None or repository.lower() != delivery.repository_name.lower():
        return {}
    return {
        environment.name: {
            "region": environment.region,
            "deploy_role": f"arn:aws:iam::{environment.account}:role/{deploy_role_name(environment)}",
            "drift_role": f"arn:aws:iam::{environment.account}:role/{drift_role_name(environment)}",
        }
        for account in delivered(environments).values()
        for environment in account
    }
