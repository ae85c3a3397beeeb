"""Data and keys: lost, replaced, kept for less time, no longer encrypted."""

from tests.review.workshop import Planted

BUCKET = "stacks/constructs/private_bucket.py"
VERSIONED = "            versioned=True,\n            server_access_logs_bucket"
RETAINED_KEY = "            enable_key_rotation=True,\n            removal_policy=cdk.RemovalPolicy.RETAIN,"

TABLE = (
    Planted(
        name="a bucket with another name",
        edits=(
            (
                BUCKET,
                "            bucket_key_enabled=True,",
                '            bucket_name=f"amplify-{id.lower()}-333333333333",\n            bucket_key_enabled=True,',
            ),
        ),
        expect={"destructive": "stop", "safeguards": "look"},
        says="DataBucket (S3::Bucket) is replaced (because of BucketName)",
    ),
    Planted(
        name="a renamed bucket construct",
        edits=(("stacks/storage.py", '            "ArtifactBucket",', '            "ModelBucket",'),),
        expect={
            "destructive": "stop",
            "broadening": "look",
            "exposure": "stop",
            "policy": "stop",
            "safeguards": "look",
        },
        says="ArtifactBucket (S3::Bucket) is removed",
    ),
    Planted(
        name="a renamed key construct",
        edits=(("stacks/storage.py", '            "Key",', '            "MainKey",'),),
        expect={"destructive": "stop", "safeguards": "look"},
        says="has another logical id",
    ),
    Planted(
        name="a bucket taken out of the template",
        edits=(
            (
                "stacks/registry.py",
                "        self.model_package_group.apply_removal_policy(cdk.RemovalPolicy.RETAIN)\n",
                '        self.node.try_remove_child("ModelPackageGroup")\n',
            ),
        ),
        expect={"destructive": "stop"},
        says="ModelPackageGroup (SageMaker::ModelPackageGroup) is removed",
    ),
    Planted(
        name="another account",
        edits=(
            ("environments.py", 'account="333333333333"', 'account="444444444444"'),
            (
                "releases/prod.json",
                ":333333333333:model-package/amplify-prod/7",
                ":444444444444:model-package/amplify-prod/7",
            ),
            (
                "releases/prod.json",
                ":333333333333:model-package/amplify-prod/6",
                ":444444444444:model-package/amplify-prod/6",
            ),
        ),
        # A right on all keys of an account is one of another account now.
        expect={
            "destructive": "stop",
            "broadening": "stop",
            "exposure": "look",
            "safeguards": "look",
            "promotion": "look",
        },
        says="the stack goes to account 444444444444",
    ),
    Planted(
        name="stacks with other names",
        edits=(
            (
                "stacks/stage.py",
                'return f"{environment.resource_name}-{stack}"',
                'return f"{environment.resource_name}-v2-{stack}"',
            ),
        ),
        expect={"destructive": "stop", "safeguards": "look"},
        says="CloudFormation makes a second one, and the first stays",
    ),
    Planted(
        name="versions off",
        edits=((BUCKET, VERSIONED, VERSIONED.replace("True", "False")),),
        expect={"destructive": "stop"},
        says="versions of objects: Enabled → nothing",
    ),
    Planted(
        name="a key that goes with its stack",
        edits=(("stacks/storage.py", RETAINED_KEY, RETAINED_KEY.replace("RETAIN", "DESTROY")),),
        expect={"destructive": "stop"},
        says="Key: DeletionPolicy Retain → Delete",
    ),
    Planted(
        name="stacks that can be deleted",
        edits=(
            (
                "environments.py",
                "    monthly_ceiling_usd=4_500,",
                "    monthly_ceiling_usd=4_500,\n    termination_protection=False,",
            ),
        ),
        expect={"destructive": "stop"},
        says="termination protection on → off",
    ),
    Planted(
        name="access logs for a month",
        edits=(("stacks/storage.py", "keep=cdk.Duration.days(365)", "keep=cdk.Duration.days(30)"),),
        expect={"destructive": "look"},
        says="go after 30 days (before: 365 days)",
    ),
    Planted(
        name="old versions for a day",
        edits=(
            (
                "stacks/storage.py",
                "            lifecycle_rules=[_keep_old_versions(cdk.Duration.days(90))],",
                "            lifecycle_rules=[_keep_old_versions(cdk.Duration.days(1))],",
            ),
        ),
        expect={"destructive": "look"},
        says="go after 1 day (before: 90 days)",
    ),
    Planted(
        name="proteins that expire",
        edits=(
            (
                "stacks/storage.py",
                "lifecycle_rules=[_keep_old_versions(cdk.Duration.days(90))],",
                'lifecycle_rules=[_keep_old_versions(cdk.Duration.days(90)), _passing("proteins")],',
            ),
        ),
        expect={"destructive": "look"},
        says="objects of proteins/ go after 30 days (before: never)",
    ),
    Planted(
        name="logs of functions for a week",
        environment="dev",
        edits=(("stacks/constructs/small_function.py", "RetentionDays.THREE_MONTHS", "RetentionDays.ONE_WEEK"),),
        expect={"destructive": "look"},
        says="logs are kept 90 days → 7 days",
    ),
    Planted(
        name="buckets without the key",
        edits=(
            (
                BUCKET,
                "            encryption=s3.BucketEncryption.KMS,\n            encryption_key=key,\n            bucket_key_enabled=True,  # one KMS call per bucket and while, not one per object: shards are many\n",
                "            encryption=s3.BucketEncryption.S3_MANAGED,\n",
            ),
        ),
        expect={"exposure": "stop"},
        says="encryption aws:kms → AES256",
    ),
    Planted(
        name="logs without the key",
        environment="dev",
        edits=(("stacks/constructs/small_function.py", "        encryption_key=key,\n", ""),),
        expect={"exposure": "stop"},
        says="KmsKeyId is no longer given",
    ),
    Planted(
        name="results of jobs without the key",
        environment="dev",
        edits=(
            ("stacks/pipeline_steps.py", '    return {"KmsKeyId": around.key_arn, "Outputs"', '    return {"Outputs"'),
        ),
        expect={"exposure": "stop", "policy": "stop"},
    ),
    Planted(
        name="a topic without the key",
        edits=(
            (
                "stacks/storage.py",
                'sns.Topic(self, "AlarmTopic", master_key=self.key, enforce_ssl=True)',
                'sns.Topic(self, "AlarmTopic", enforce_ssl=True)',
            ),
        ),
        expect={"exposure": "stop"},
        says="KmsMasterKeyId is no longer given",
    ),
    Planted(
        name="a key that stays the same for ever",
        edits=(("stacks/storage.py", "enable_key_rotation=True", "enable_key_rotation=False"),),
        expect={"exposure": "look", "policy": "stop"},
    ),
    Planted(
        name="tags of images that move",
        edits=(("stacks/registry.py", "TagMutability.IMMUTABLE", "TagMutability.MUTABLE"),),
        expect={"exposure": "stop"},
        says="tags of images: IMMUTABLE → MUTABLE",
    ),
)
