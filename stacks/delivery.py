"""What a person deploys once in each account, so that nobody has to deploy anything by hand there again.

Outside of the environments: `cdk deploy '<env>/*'` neither makes nor touches it, and what deploys an environment
(`DEPLOYMENT_BOUNDARY`) cannot. docs/real-account.md has the order of the steps.
"""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.config import Delivery, Environment
from stacks.config.delivery import (
    BOUNDARY,
    DEPLOYMENT_BOUNDARY,
    delivered,
    deploy_role_name,
    drift_role_name,
)
from stacks.constructs.account_role import promotion_role_name, release_role_name
from stacks.delivery_rights import BOUNDED, BOUNDED_MODELS
from stacks.drift_rights import drift_statements
from stacks.people import BOOTSTRAP_ROLES

GITHUB = "token.actions.githubusercontent.com"
AUDIENCE = "sts.amazonaws.com"
GIVES_POWER = ("account", "iam", "identitystore", "organizations", "sso", "sts")
"""The services by which one gets, or gives, more rights than one has."""


class DeliveryStage(cdk.Stage):
    """`delivery/<environments of an account>`, one stack an account. `cdk deploy 'delivery/dev'` deploys dev's."""

    def __init__(self, scope: Construct, delivery: Delivery, environments: Sequence[Environment]) -> None:
        """Raises SettingsError with all that is wrong in the settings."""
        for settings in (delivery, *environments):
            settings.check()
        super().__init__(scope, "delivery")
        cdk.Tags.of(self).add("project", "amplify")
        for account, own in delivered(environments).items():
            DeliveryStack(
                self,
                "-".join(environment.name for environment in own),
                stack_name="amplify-delivery",
                env=cdk.Environment(account=account, region=own[0].region),
                termination_protection=True,
                delivery=delivery,
                environments=own,
            )


class DeliveryStack(cdk.Stack):
    """GitHub's identity provider, a role that deploys and one that looks for each environment, and two boundaries."""

    def __init__(
        self, scope: Construct, id: str, *, delivery: Delivery, environments: Sequence[Environment], **kwargs: Any
    ) -> None:
        super().__init__(
            scope, id, description="AMPLIFY: whom this account trusts to deploy, and what at most they can", **kwargs
        )
        self._delivery = delivery
        self._provider = self._identity_provider()
        roles = [self._iam(f"role/{name(one)}") for one in environments for name in (deploy_role_name, drift_role_name)]
        self._bound_what_a_deployment_makes()
        self._bound_the_deployment(environments, roles)
        for environment in environments:
            self._deploy_role(environment)
            self._drift_role(environment)

    def _identity_provider(self) -> str:
        """No thumbprints: AWS checks GitHub's certificate by its own list of authorities.
        https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc_verify-thumbprint.html
        """
        if self._delivery.provider_exists:
            return self._iam(f"oidc-provider/{GITHUB}")
        provider = iam.CfnOIDCProvider(
            self,
            "GitHub",
            url=f"https://{GITHUB}",
            client_id_list=[AUDIENCE],
            tags=[cdk.CfnTag(key="project", value="amplify")],
        )
        provider.apply_removal_policy(cdk.RemovalPolicy.RETAIN)  # others of the account may have come to use it
        return provider.attr_arn

    def _role(self, name: str, id: str, *, subject: str, description: str) -> iam.Role:
        """Assumed by the tokens of one subject, of a job on the one branch, for AWS, and by nobody else."""
        claims = {
            f"{GITHUB}:aud": AUDIENCE,
            f"{GITHUB}:sub": f"repo:{self._delivery.repository}:{subject}",
            # An environment of GitHub is open to every branch until somebody sets a rule there.
            f"{GITHUB}:ref": f"refs/heads/{self._delivery.branch}",
        }
        return iam.Role(
            self,
            id,
            role_name=name,  # workflows name it, before they can ask anything
            description=description,
            assumed_by=iam.WebIdentityPrincipal(self._provider, {"StringEquals": claims}),
            max_session_duration=cdk.Duration.hours(1),
        )

    def _deploy_role(self, environment: Environment) -> None:
        role = self._role(
            deploy_role_name(environment),
            f"{environment.name.capitalize()}DeployRole",
            subject=f"environment:{environment.name}",
            description=f"Deploys {environment.name} by roles of the CDK's bootstrap and watches; may nothing itself",
        )
        account, region = environment.account, environment.region
        bootstrap = [self._iam(f"role/cdk-hnb659fds-{one}-role-{account}-{region}") for one in BOOTSTRAP_ROLES]
        ours = [self._iam(f"role/{release_role_name(environment)}")]  # asks golden requests, and keeps the record
        if environment.promotion is not None:
            ours.append(self._iam(f"role/{promotion_role_name(environment)}"))  # copies; the pull request is GitHub's
        role.add_to_policy(iam.PolicyStatement(actions=["sts:AssumeRole"], resources=[*bootstrap, *ours]))

    def _drift_role(self, environment: Environment) -> None:
        """By the branch and not by an environment of GitHub: those of production wait for approval every night."""
        role = self._role(
            drift_role_name(environment),
            f"{environment.name.capitalize()}DriftRole",
            subject=f"ref:refs/heads/{self._delivery.branch}",
            description=f"Looks whether {environment.name} is as it was deployed, and changes nothing",
        )
        for statement in drift_statements(self, environment):
            role.add_to_policy(statement)

    def _bound_what_a_deployment_makes(self) -> None:
        """Grants nothing: whoever has it can do these at most. Never IAM, but for handing our roles to jobs."""
        ours = iam.PolicyStatement(
            actions=["iam:PassRole"],
            resources=[self._iam("role/amplify-*")],
            conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
        )
        models = iam.PolicyStatement(
            actions=[f"sagemaker:{action}" for action in BOUNDED_MODELS],
            resources=[f"arn:{self.partition}:sagemaker:{self.region}:{self.account}:model/amplify-*"],
        )
        everything = [f"{service}:{action}" for service, actions in BOUNDED.items() for action in actions]
        iam.ManagedPolicy(
            self,
            "Boundary",
            managed_policy_name=BOUNDARY,
            description="At most this, whatever a role that AMPLIFY's deployments make is given",
            statements=[iam.PolicyStatement(actions=everything, resources=["*"]), models, ours],
        )

    def _bound_the_deployment(self, environments: Sequence[Environment], protected: Sequence[str]) -> None:
        """For CloudFormation's role of the CDK's bootstrap, which is an administrator otherwise.

        By what is allowed, so that what IAM learns tomorrow is not. The roles that it makes are bounded as it is:
        https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html, "Delegating responsibility".
        """
        roles = [self._iam(f"role/{one.resource_name}-*") for one in environments]
        policies = [self._iam(f"policy/{one.resource_name}-*") for one in environments]
        boundary = self._iam(f"policy/{BOUNDARY}")
        itself = [
            boundary,
            self._iam(f"policy/{DEPLOYMENT_BOUNDARY}"),
            self._iam(f"oidc-provider/{GITHUB}"),
            *protected,
        ]
        iam.ManagedPolicy(
            self,
            "DeploymentBoundary",
            managed_policy_name=DEPLOYMENT_BOUNDARY,
            description="At most this for what deploys: no people, no keys, and no role beyond the boundary of roles",
            statements=[
                # All services but those by which it would get more than it has.
                iam.PolicyStatement(not_actions=[f"{one}:*" for one in GIVES_POWER], resources=["*"]),
                iam.PolicyStatement(actions=["iam:Get*", "iam:List*"], resources=["*"]),
                iam.PolicyStatement(
                    actions=[
                        *("iam:CreateRole", "iam:PutRolePermissionsBoundary"),
                        *("iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy"),
                    ],
                    resources=roles,
                    conditions={"StringEquals": {"iam:PermissionsBoundary": boundary}},
                ),
                iam.PolicyStatement(
                    actions=[
                        *("iam:DeleteRole", "iam:UpdateRole", "iam:UpdateRoleDescription"),
                        *("iam:UpdateAssumeRolePolicy", "iam:TagRole", "iam:UntagRole", "iam:PassRole"),
                    ],
                    resources=roles,
                ),
                iam.PolicyStatement(
                    actions=[
                        *("iam:CreatePolicy", "iam:DeletePolicy", "iam:TagPolicy", "iam:UntagPolicy"),
                        *("iam:CreatePolicyVersion", "iam:DeletePolicyVersion", "iam:SetDefaultPolicyVersion"),
                    ],
                    resources=policies,
                ),
                # Such as that of Application Auto Scaling: AWS alone says what it may, and only AWS can assume it.
                iam.PolicyStatement(
                    actions=["iam:CreateServiceLinkedRole"], resources=[self._iam("role/aws-service-role/*")]
                ),
                # What this stack made has names that begin as an environment's do.
                iam.PolicyStatement(effect=iam.Effect.DENY, actions=["iam:*"], resources=itself),
            ],
        )

    def _iam(self, resource: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:{resource}"
