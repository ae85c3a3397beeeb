"""Roles, trust and policies that let more pass than before. A wildcard is also a finding of cdk-nag without a reason."""

from tests.review.workshop import Planted

ROLE = "stacks/constructs/service_role.py"
ASSUMED = "assumed_by=iam.ServicePrincipal(service, conditions=whose)"
PIPELINE = "stacks/constructs/model_pipeline.py"
DEPLOYER = "cdk-hnb659fds-{role}-role-{self.account}-{self.region}"
INVOKES = '        self._allow(actions, [self._arn("endpoint", self._name)])'
KEY_CONDITION = '                    resources=["*"],\n                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},\n                )\n            )\n\n    def _let_them'

RELEASED = ", resources=[bucket.arn_for_objects(key)])"

TABLE = (
    Planted(
        name="every action of S3",
        edits=((ROLE, f'["s3:GetObject"]{RELEASED}', f'["s3:*"]{RELEASED}'),),
        expect={"broadening": "stop", "policy": "stop"},
        says="Role of endpoint may s3:*",
    ),
    Planted(
        name="a wildcard inside an action",
        edits=((ROLE, f'["s3:GetObject"]{RELEASED}', f'["s3:GetObject*"]{RELEASED}'),),
        expect={"broadening": "look", "policy": "stop"},
        says="s3:GetObject*",
    ),
    Planted(
        name="the whole bucket in place of one object",
        edits=((ROLE, RELEASED, ', resources=[bucket.arn_for_objects("*")])'),),
        expect={"broadening": "look", "policy": "stop"},
        says="on <ArtifactBucket>/* (was on <ArtifactBucket>/runs/",
    ),
    Planted(
        name="every bucket there is",
        edits=((ROLE, RELEASED, ', resources=["arn:aws:s3:::*"])'),),
        expect={"broadening": "stop", "policy": "stop"},
    ),
    Planted(
        name="everything but IAM",
        edits=(
            (
                ROLE,
                "    def read(self, bucket",
                '    def everything(self) -> None:\n        self.add_to_policy(iam.PolicyStatement(not_actions=["iam:*"], resources=["*"]))\n\n    def read(self, bucket',
            ),
            (
                ROLE,
                "        self.write_log(log_group)\n        # cloud",
                "        self.write_log(log_group)\n        self.everything()\n        # cloud",
            ),
        ),
        expect={"broadening": "stop", "policy": "stop"},
        says="everything but iam:*",
    ),
    Planted(
        name="every resource but one",
        edits=(
            (
                ROLE,
                "        self.write_log(log_group)\n        # cloud",
                '        self.write_log(log_group)\n        self.add_to_policy(iam.PolicyStatement(actions=["s3:GetObject"], not_resources=["arn:aws:s3:::secret/*"]))\n        # cloud',
            ),
        ),
        expect={"broadening": "stop"},
        says="everything but arn:aws:s3:::secret/*",
    ),
    Planted(
        name="an administrator",
        edits=(
            (
                ROLE,
                ASSUMED + ")",
                ASSUMED + ', managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("AdministratorAccess")])',
            ),
        ),
        expect={"broadening": "stop", "policy": "stop"},
        says="AdministratorAccess",
    ),
    Planted(
        name="trust in anybody",
        edits=((ROLE, ASSUMED, "assumed_by=iam.AnyPrincipal()"),),
        expect={"broadening": "stop"},
        says="anybody may become Role",
    ),
    Planted(
        name="trust in another account",
        edits=((ROLE, ASSUMED, 'assumed_by=iam.AccountPrincipal("999999999999")'),),
        expect={"broadening": "stop"},
        says="999999999999:root may become Role",
    ),
    Planted(
        name="trust without a condition",
        edits=(
            (
                ROLE,
                'whose = {} if service == LAMBDA else {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(scope).account}}',
                "whose: dict[str, object] = {}",
            ),
        ),
        expect={"broadening": "stop"},
        says="no longer only where aws:SourceAccount is 333333333333",
    ),
    Planted(
        name="trust in any account by a pattern",
        edits=(
            (
                ROLE,
                '{"StringEquals": {"aws:SourceAccount": cdk.Stack.of(scope).account}}',
                '{"StringLike": {"aws:SourceAccount": "*"}}',
            ),
        ),
        expect={"broadening": "stop"},
    ),
    Planted(
        name="trust in one service more",
        edits=(
            (
                ROLE,
                ASSUMED,
                'assumed_by=iam.CompositePrincipal(iam.ServicePrincipal(service, conditions=whose), iam.ServicePrincipal("ec2.amazonaws.com"))',
            ),
        ),
        expect={"broadening": "look"},
        says="ec2.amazonaws.com may become Role",
    ),
    Planted(
        name="a condition removed",
        edits=(
            (
                ROLE,
                '["cloudwatch:PutMetricData"], ["*"], {"StringEquals": {"cloudwatch:namespace": metric_namespace}})',
                '["cloudwatch:PutMetricData"], ["*"])',
            ),
        ),
        expect={"broadening": "stop"},
        says="no longer only where cloudwatch:namespace is /aws/sagemaker/Endpoints",
    ),
    Planted(
        name="a condition that lets all prefixes pass",
        environment="dev",
        edits=(
            (
                ROLE,
                '{"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}',
                '{"StringLike": {"s3:prefix": ["*"]}}',
            ),
        ),
        expect={"broadening": "stop"},
    ),
    Planted(
        name="a condition with one prefix more",
        edits=(
            (
                "stacks/people.py",
                'policy.list(artifacts, "runs/", "images/", "drift/")',
                'policy.list(artifacts, "runs/", "images/", "drift/", "captured/")',
            ),
        ),
        expect={"broadening": "look"},
        says="captured/*",
    ),
    Planted(
        name="roles passed to any service",
        environment="dev",
        edits=(
            (
                PIPELINE,
                '                conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},\n',
                "",
            ),
        ),
        expect={"broadening": "stop"},
        says="no longer only where iam:PassedToService",
    ),
    Planted(
        name="every role passed",
        environment="dev",
        edits=(
            (
                PIPELINE,
                "resources=[role.role_arn for role in job_roles]",
                'resources=[f"arn:aws:iam::{cdk.Stack.of(self).account}:role/*"]',
            ),
        ),
        expect={"broadening": "stop", "policy": "stop"},
        says="iam:PassRole on arn:aws:iam::111111111111:role/*",
    ),
    Planted(
        name="one role more passed",
        environment="dev",
        edits=(
            (
                PIPELINE,
                "resources=[role.role_arn for role in job_roles]",
                "resources=[role.role_arn for role in [*job_roles, self.role]]",
            ),
        ),
        expect={"broadening": "look"},
        says="iam:PassRole",
    ),
    Planted(
        name="grants of the key for anything",
        environment="dev",
        edits=((ROLE, '[key.key_arn], {"Bool": {"kms:GrantIsForAWSResource": "true"}})', "[key.key_arn])"),),
        expect={"broadening": "stop"},
        says="kms:CreateGrant",
    ),
    Planted(
        name="a key that any service's anybody may use",
        edits=(
            (
                "stacks/storage.py",
                KEY_CONDITION,
                KEY_CONDITION.replace(
                    '                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},\n', ""
                ),
            ),
        ),
        expect={"exposure": "stop"},
        says="no longer only where aws:SourceAccount",
    ),
    Planted(
        name="a key for everybody",
        edits=(
            (
                "stacks/storage.py",
                '                    principals=[iam.ServicePrincipal(service)],\n                    actions=["kms:Decrypt", "kms:GenerateDataKey*"],\n                    resources=["*"],\n                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},',
                '                    principals=[iam.AnyPrincipal()],\n                    actions=["kms:Decrypt", "kms:GenerateDataKey*"],\n                    resources=["*"],',
            ),
        ),
        expect={"exposure": "stop"},
        says="anybody may kms:Decrypt",
    ),
    Planted(
        name="a key for another account",
        edits=(
            (
                "stacks/storage.py",
                "        self._let_events_use_the_key()\n\n",
                '        self._let_events_use_the_key()\n        self.key.grant_decrypt(iam.AccountPrincipal("999999999999"))\n\n',
            ),
        ),
        expect={"exposure": "stop"},
        says="999999999999:root may kms:Decrypt",
    ),
    Planted(
        name="a bucket for another account",
        edits=(
            (
                "stacks/storage.py",
                "        self._let_them_publish()\n\n",
                '        self._let_them_publish()\n        self.data_bucket.grant_read(iam.AccountPrincipal("999999999999"))\n\n',
            ),
        ),
        expect={"exposure": "stop"},
        says="999999999999",
    ),
    Planted(
        name="plain http let in",
        edits=(
            (
                "stacks/constructs/private_bucket.py",
                "            enforce_ssl=True,\n            minimum_tls_version=1.2,\n            versioned=True,\n            server_access",
                "            versioned=True,\n            server_access",
            ),
        ),
        expect={"exposure": "stop", "policy": "stop"},
        says="no longer denies s3:*",
    ),
    Planted(
        name="every endpoint to ask",
        edits=(
            (
                "stacks/constructs/invoke_policy.py",
                f'        actions = ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"]\n{INVOKES}',
                f'        actions = ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"]\n{INVOKES.replace("self._name", chr(34) + "*" + chr(34))}',
            ),
        ),
        expect={"broadening": "look", "policy": "stop"},
    ),
    Planted(
        name="a person who may become any role",
        edits=(("stacks/people.py", DEPLOYER, "*"),),
        expect={"broadening": "stop", "policy": "stop"},
        says="sts:AssumeRole on arn:aws:iam::333333333333:role/*",
    ),
    Planted(
        name="a job under another role",
        environment="dev",
        edits=(
            (
                "stacks/pipeline_definition.py",
                '            "RoleArn": around.train_role_arn,',
                '            "RoleArn": around.fetch_role_arn,',
            ),
        ),
        expect={"broadening": "look"},
        says="it runs as <TrainRole> → <FetchRole>",
    ),
    Planted(
        name="a user with a key",
        edits=(
            (
                "stacks/people.py",
                "    def _let_deploy(self, policy: PeoplePolicy, image_build_arn: str | None) -> None:",
                '    def _let_in(self) -> None:\n        from aws_cdk import aws_iam as iam\n\n        iam.CfnAccessKey(self, "Door", user_name=iam.User(self, "Robot").user_name)\n\n    def _let_deploy(self, policy: PeoplePolicy, image_build_arn: str | None) -> None:',
            ),
            (
                "stacks/people.py",
                '        policy.do("sts:AssumeRole", on=[',
                '        self._let_in()\n        policy.do("sts:AssumeRole", on=[',
            ),
        ),
        expect={"exposure": "look"},
        says="an access key that does not expire",
    ),
    Planted(
        name="a policy for one role more",
        edits=(("environments.py", "max_latency_ms=2_000", 'max_latency_ms=2_000, invokers=("webapp",)'),),
        expect={"broadening": "look"},
        says="given to webapp",
    ),
)
