"""cdk-nag's AwsSolutions rules over every stack: no finding without a reason, no reason without a finding.

The reasons are here and not at the constructs because cdk-nag's ids of wildcard findings hold generated names
(`…ExportsOutputFnGetAttDataBucketE3889A50Arn98F8399F/proteins/*`); a pattern per role says the same and reads.
"""

import json
import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3
from cdk_nag import AwsSolutionsChecks

from environments import ENVIRONMENTS
from stacks.delivery import DeliveryStage
from tests.stacks.mode_examples import EXAMPLES, add_stage
from tests.stacks.synthesis import DELIVERY, VARIANTS, add_variant, new_app

ONE_RUN = "a run's id is known only when it starts; the prefix below it is exact, the bucket its own"
THE_INPUT = "people lay their files below this one prefix; which files is what they choose"
NO_RESOURCE = (
    "AWS defines ecr:GetAuthorizationToken, cloudwatch:PutMetricData, ec2:Describe…, sagemaker:ListModelPackages and "
    "servicequotas:ListServiceQuotas without a resource; the token opens only the repository granted beside it, the "
    "metrics are bound to one namespace by condition, and what is described of networks, packages and quotas is no "
    "secret within the account"
)
LOG_STREAMS = "so a policy names a log group with its streams, which SageMaker names when the job starts"
JOB_NAMES = "SageMaker names a pipeline's jobs pipelines-<execution>-<step>-<random>"
CAPTURES = "SageMaker names what it captures by variant, date and request; the endpoint's prefix is its own"
REQUESTS = "who asks names the request, and SageMaker the answer; the endpoint's prefixes are its own"
TRANSFORMS = (
    "a transform job is named when it is started; its model is bound by condition, its name begins with the endpoint's"
)
PACKAGES = (
    "the command names a job's model after the job, and SageMaker counts versions up; the model is isolated and its "
    "role exact, by conditions"
)
RECORDS = "what is kept of one image: its inventory, its scan and its provenance; the folder of that image is exact"
INTERFACES = "EC2 names a network interface when it is made; subnets and security group are exact, or a condition"
REPORTS = "each report lies below its date; the prefix is exact, and what was written stays"
EXECUTIONS = "SageMaker names a run when it starts; the pipeline is exact"
NAMED_LATER = (
    "CloudFormation and CloudWatch name their things when they make them, beginning with the environment's name"
)
SERVED = (
    "CloudFormation makes up the names of what an endpoint is made of; it is read, not changed, and holds no secret"
)
CEILING = "a boundary grants nothing: it says what the policies beside it can grant at most"
DRIFT = (
    "who looks for drift reads the settings of everything that the environment may have: by its name where a name "
    "tells whose it is; where AWS defines the reading without a resource, or makes up a name, of the account"
)
RELEASED = "each release has a folder by its digest, and the record one by its time; what was written stays"
OTHER_ACCOUNT = (
    "bucket and key of the other account have generated names; the account bounds them, by a condition or by name, and "
    "their own policies say the same of the other side"
)
MADE_BY_CLOUDFORMATION = "CloudFormation makes up their names, which do not begin with the environment's; read only"
VERSIONS = "a package's version is counted up by SageMaker; the group is exact"

EXPLAINED = [  # construct path, finding, reason
    (
        r"training/(Prepare|Train|Evaluate|Fetch)Role",
        r"ArtifactBucket\w+/(runs/\*/(dataset|init|model|evaluation)|checkpoints)/\*",
        ONE_RUN,
    ),
    (r"training/(Training|Registration)Pipeline/Role", r"ArtifactBucket\w+/runs/\*/(model|evaluation)/\*", ONE_RUN),
    (r"training/PrepareRole", r"DataBucket\w+/proteins/\*", THE_INPUT),
    (r"training/(Prepare|Fetch)Role", r"DataBucket\w+/weights/\*", THE_INPUT),
    (r"training/EvaluateRole", r"DataBucket\w+/heldout/\*", THE_INPUT),
    (
        r"training/(Prepare|Train|Evaluate|Fetch)Role|endpoint/(Shadow|Packages)?Role|monitoring/DriftRole",
        r"Resource::\*",
        NO_RESOURCE,
    ),
    (
        r"training/(Prepare|Train|Evaluate)Role|endpoint/(Shadow|Packages)?Role|monitoring/DriftRole",
        r":ec2:[\w-]+:\d+:network-interface/\*",
        INTERFACES,
    ),
    (
        r"training/(Prepare|Evaluate|Fetch)Role|monitoring/DriftRole",
        r":log-group:/aws/sagemaker/ProcessingJobs:\*",
        LOG_STREAMS,
    ),
    (r"training/TrainRole", r":log-group:/aws/sagemaker/TrainingJobs:\*", LOG_STREAMS),
    (r"endpoint/(Shadow)?Role", r":log-group:/aws/sagemaker/Endpoints/amplify-\w+:\*", LOG_STREAMS),
    (r"endpoint/(Role|PackagesRole|InvokePolicy)", r":log-group:/aws/sagemaker/TransformJobs:\*", LOG_STREAMS),
    (r"endpoint/(Shadow)?Role", r"ArtifactBucket\w+/captured/amplify-\w+/\*", CAPTURES),
    (r"monitoring/DriftRole", r"ArtifactBucket\w+/captured/amplify-\w+/model/\*", CAPTURES),
    (r"monitoring/DriftRole", r"ArtifactBucket\w+/drift/\*", REPORTS),
    (r"monitoring/Drift/PipelineRole", r":processing-job/pipelines-\*", JOB_NAMES),
    (r"training/RunWatch/Watcher/Role", r":training-job/pipelines-\*", JOB_NAMES),
    (r"training/RunWatch/Watcher/Role", r":pipeline/amplify-\w+(-register)?/execution/\*", EXECUTIONS),
    (r"training/RunWatch/Watcher/Role", r"Resource::\*", NO_RESOURCE),
    (r"endpoint/InvokePolicy", r":log-group:/aws/sagemaker/TransformJobs:log-stream:amplify-\w+-\*", TRANSFORMS),
    (r"endpoint/InvokePolicy", r":stack/amplify-\w+-\*/\*", NAMED_LATER),
    (r"endpoint/InvokePolicy", r":model(/amplify-\w+-batch-|-package/amplify-\w+/)\*", PACKAGES),
    (r"endpoint/InvokePolicy", r"Resource::\*", NO_RESOURCE),
    (r"endpoint/PackagesRole", r"ArtifactBucket\w+/runs/\*/model/\*", ONE_RUN),
    (r"endpoint/(Role|PackagesRole|InvokePolicy)", r"ArtifactBucket\w+/(async|transform)/amplify-\w+/\w+/\*", REQUESTS),
    (r"endpoint/InvokePolicy", r":transform-job/amplify-\w+-\*", TRANSFORMS),
    (r"training/(Training|Registration)Pipeline/Role", r":(processing|training)-job/pipelines-\*", JOB_NAMES),
    (r"training/(Training|Registration)Pipeline/Role", r":model-package/amplify-\w+/\*", VERSIONS),
    (r"training/ImageBuild/Role", r"ArtifactBucket\w+/images/(cpu|gpu)-\w+/\*", RECORDS),
    (r"training/ImageBuild/Role", r"Resource::\*", NO_RESOURCE),
    (r"people/TrainerPolicy", r"DataBucket\w+/(proteins|heldout|weights)/\*", THE_INPUT),
    (r"people/(Trainer|Approver|Auditor)Policy", r"ArtifactBucket\w+/runs/\*/(model|evaluation)/\*", ONE_RUN),
    (r"people/(Trainer|Approver|Deployer|Auditor)Policy", r"ArtifactBucket\w+/images/\*", RECORDS),
    (r"people/AuditorPolicy", r"ArtifactBucket\w+/drift/\*", REPORTS),
    (r"people/(Trainer|Approver|Auditor)Policy", r":(processing|training)-job/pipelines-\*", JOB_NAMES),
    (r"people/(Trainer|Approver|Auditor)Policy", r":pipeline/amplify-\w+(-register|-drift)?/execution/\*", EXECUTIONS),
    (r"people/(Trainer|Approver|Deployer|Auditor)Policy", r":model-package/amplify-\w+/\*", VERSIONS),
    (r"people/(Trainer|Approver|Auditor)Policy", r"Resource::\*", NO_RESOURCE),
    (
        r"people/(Trainer|Approver|Auditor)Policy",
        r":log-group:/aws/sagemaker/(Processing|Training)Jobs:\*",
        LOG_STREAMS,
    ),
    (r"people/AuditorPolicy", r":log-group:/aws/sagemaker/Endpoints/amplify-\w+:\*", LOG_STREAMS),
    (r"people/(Trainer|Approver|Deployer|Auditor)Policy", r":stack/amplify-\w+-\*/\*", NAMED_LATER),
    (r"people/(Deployer|Auditor)Policy", r":(endpoint-config|model)/\*", SERVED),
    (r"people/AuditorPolicy", r":transform-job/amplify-\w+-\*", TRANSFORMS),
    (r"people/AuditorPolicy", r":(log-group|alarm):amplify-\w+-\*(:\*)?", NAMED_LATER),
    (r"people/AuditorPolicy", r":(role|policy)/amplify-\w+-\*", NAMED_LATER),
    (r"promotion/(Promotion|Release)Role", r"(ArtifactBucket\w+|artifactbucket\*)/releases/\*", RELEASED),
    (r"promotion/PromotionRole", r"artifactbucket\*(/(runs/\*/model|images|drift)/\*)?", OTHER_ACCOUNT),
    (r"promotion/PromotionRole", r":kms:[\w-]+:\d+:key/\*", OTHER_ACCOUNT),
    (r"promotion/(Promotion|Release)Role", r":model-package/amplify-\w+/\*", VERSIONS),
    (r"promotion/(Promotion|Release)Role", r":stack/amplify-\w+-\*/\*", NAMED_LATER),
    (r"promotion/(Promotion|Release)Role", r"Resource::\*", NO_RESOURCE),
    (r"promotion/ReleaseRole", r"ArtifactBucket\w+/runs/\*/model/\*", ONE_RUN),
    (r"promotion/ReleaseRole", r":(endpoint-config|model)/\*", MADE_BY_CLOUDFORMATION),
    (r"promotion/ReleaseRole", r":parameter/amplify/amplify-\w+/\*", RELEASED),
    (r"workbench/Role", r":log-group:/aws/sagemaker/NotebookInstances:\*", LOG_STREAMS),
    (r"workbench/Role", r":ec2:[\w-]+:\d+:network-interface/\*", INTERFACES),
    (r"workbench/Role", r"Resource::\*", NO_RESOURCE),
    (r"\w+/Boundary", r"Resource::(\*|arn:aws:(iam:|sagemaker:[\w-]+):\d+:(role|model)/amplify-\*)", CEILING),
    (r"\w+/\w+DriftRole|people/DriftPolicy", r"Resource::\*", DRIFT),
    (r"\w+/\w+DriftRole|people/DriftPolicy", r"[:/](amplify-\w+-?)?\*(/(amplify-\w+-)?\*)?", DRIFT),
]


EXPLAINED_ELSEWHERE = [  # construct path, rule, reason: findings that name no wildcard, or are of something else
    (
        r"\w+/DeploymentBoundary",
        r"AwsSolutions-IAM5",
        f"{CEILING}: all services but those that hand out rights, of which it names the actions and whose roles",
    ),
    (
        r"training/((ImageBuild|Triggers)/Starter|RunWatch/Watcher)/Function",
        r"AwsSolutions-L1",
        "Python 3.13: all that runs here also runs on local AWS, by an interpreter that people have",
    ),
]
ALL_EXPLAINED = [*EXPLAINED, *EXPLAINED_ELSEWHERE]


def findings(app: cdk.App, folder: Path) -> set[tuple[str, str]]:
    """What AwsSolutions finds: (construct path, rule with its finding). Findings make the synthesis raise."""
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app, verbose=False))
    try:
        app.synth()
    except RuntimeError as error:
        assert "ValidationFailed" in str(error)  # noqa: PT017 - anything else is a fault of the app, not a finding
    report = json.loads((folder / "validation-report.json").read_text())
    [nag] = [plugin for plugin in report["pluginReports"] if plugin["pluginName"] == "AwsSolutions"]
    return {
        (construct["constructPath"], violation["ruleName"])
        for violation in nag["violations"]
        for construct in violation["violatingConstructs"]
    }


def explains(row: tuple[str, str, str], path: str, rule: str) -> bool:
    where, finding, _ = row
    if row in EXPLAINED_ELSEWHERE:
        return bool(re.fullmatch(rf"\w+/({where})/Resource", path) and re.fullmatch(finding, rule))
    return bool(
        re.fullmatch(rf"\w+/({where})(/DefaultPolicy)?/Resource", path)
        and re.fullmatch(rf"AwsSolutions-IAM5\[.*{finding}\]", rule)
    )


@pytest.fixture(scope="module", name="found")
def findings_of_the_app(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    from app import add_environments

    folder = tmp_path_factory.mktemp("nag")
    app: Any = new_app(folder)
    add_environments(app)
    found = findings(app, folder)
    stages = {name: (add_variant, environment) for name, environment in VARIANTS.items()}
    for name, (add, what) in (stages | {mode: (add_stage, example) for mode, example in EXAMPLES.items()}).items():
        folder = tmp_path_factory.mktemp(name)
        app = new_app(folder)
        add(app, what)
        found |= findings(app, folder)
    folder = tmp_path_factory.mktemp("delivery")
    app = new_app(folder)
    DeliveryStage(app, DELIVERY, [*ENVIRONMENTS.values()])
    return found | findings(app, folder)


def test_every_finding_has_a_reason(found: set[tuple[str, str]]) -> None:
    assert [
        (path, rule) for path, rule in sorted(found) if not any(explains(row, path, rule) for row in ALL_EXPLAINED)
    ] == []


@pytest.mark.parametrize("row", ALL_EXPLAINED, ids=lambda row: row[1])
def test_every_reason_still_has_its_finding(found: set[tuple[str, str]], row: tuple[str, str, str]) -> None:
    assert any(explains(row, path, rule) for path, rule in found), f"{row[:2]} explains nothing any more: remove it"


def test_a_bucket_open_to_plain_http_is_found_and_not_explained(tmp_path: Path) -> None:
    app = new_app(tmp_path)
    s3.Bucket(cdk.Stack(app, "stack"), "Bucket")
    found = findings(app, tmp_path)
    assert ("stack/Bucket/Resource", "AwsSolutions-S10") in found
    assert not any(explains(row, path, rule) for row in ALL_EXPLAINED for path, rule in found)
