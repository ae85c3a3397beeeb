"""The seam between the stacks and everyone who deploys or asks them: names, outputs, recipes."""

import re

import pytest
from amplify_lm import fasta

from environments import ENVIRONMENTS
from operate.data import READY_KEY
from tests.stacks.mode_examples import mode_templates
from tests.stacks.readable import plain
from tests.stacks.synthesis import ROOT, manifests, only, resources, templates, variants

OUTPUTS = {
    "storage": {"DataBucketName", "ArtifactBucketName", "KeyArn", "AlarmTopicArn"},
    "registry": {"ModelPackageGroupName", "RepositoryUri"},
    "network": {"VpcId"},
    "training": {
        *("PipelineName", "RegistrationPipelineName", "ImageUri", "CodeBundleUri"),
        *("ImageBuildProjectName", "ImageBuildOutcome"),
    },
    "endpoint": {"EndpointName", "ModelPackageArn", "InvokePolicyArn"},
    "people": set(),
    "promotion": {"ReleaseRoleArn", "PromotionRoleArn"},
    "monitoring": {"DashboardName"},
}
OF_A_MODE = {  # beside ModelPackageArn and InvokePolicyArn
    "realtime": {"EndpointName", "ShadowModelPackageArn"},
    "async": {"EndpointName", "InputPrefix", "OutputPrefix", "FailurePrefix", "SuccessTopicArn", "ErrorTopicArn"},
    "serverless": {"EndpointName"},
    "inference_components": {"EndpointName", "InferenceComponentName"},
    "batch": {"ModelName", "InputPrefix", "OutputPrefix", "PackagesRoleArn"},
}


@pytest.mark.parametrize("stack", sorted(templates()))
def test_a_stack_is_named_after_its_environment_and_kind_and_lives_in_its_account(stack: str) -> None:
    environment, kind = stack.split("/")
    entry = manifests()[stack]
    settings = ENVIRONMENTS[environment]
    assert entry["properties"]["stackName"] == f"amplify-{environment}-{kind}"
    assert entry["environment"] == f"aws://{settings.account}/{settings.region}"


@pytest.mark.parametrize("stack", sorted(templates()))
def test_a_stack_has_the_outputs_that_others_read(stack: str) -> None:
    outputs = {name for name in templates()[stack].get("Outputs", {}) if not name.startswith("ExportsOutput")}
    makes_them = ENVIRONMENTS[stack.split("/")[0]].promotion is None  # such an environment fetches none
    assert outputs == OUTPUTS[stack.split("/")[1]] - ({"PromotionRoleArn"} if makes_them else set())


def test_a_workbench_tells_its_notebook_and_the_policies_of_people_have_fixed_names() -> None:
    assert set(variants()["workbench-dev/workbench"]["Outputs"]) == {"NotebookInstanceName"}
    policies = resources(templates()["dev/people"], "AWS::IAM::ManagedPolicy").values()
    assert {policy["Properties"]["ManagedPolicyName"] for policy in policies} == {
        f"amplify-dev-{kind}" for kind in ("trainer", "approver", "deployer", "auditor", "drift")
    }


@pytest.mark.parametrize("mode", OF_A_MODE)
def test_an_endpoint_stack_has_the_outputs_of_its_mode(mode: str) -> None:
    outputs = mode_templates()[f"modes/{mode}"]["Outputs"]
    named = {name for name in outputs if not name.startswith("ExportsOutput")}
    assert named == OF_A_MODE[mode] | {"ModelPackageArn", "InvokePolicyArn"}
    assert {outputs[name]["Value"] for name in outputs if name in ("EndpointName", "InferenceComponentName")} <= {
        "amplify-dev"
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_group_repository_and_endpoint_have_the_one_fixed_name(environment: str) -> None:
    registry, endpoint = templates()[f"{environment}/registry"], templates()[f"{environment}/endpoint"]
    names = [
        only(registry, "AWS::SageMaker::ModelPackageGroup")["ModelPackageGroupName"],
        only(registry, "AWS::ECR::Repository")["RepositoryName"],
        only(endpoint, "AWS::SageMaker::Endpoint")["EndpointName"],
        endpoint["Outputs"]["EndpointName"]["Value"],
    ]
    assert set(names) == {f"amplify-{environment}"}


@pytest.mark.parametrize("environment", ["local", "dev"])
def test_the_pipelines_have_fixed_names_and_the_image_is_of_the_environments_repository(environment: str) -> None:
    training = templates()[f"{environment}/training"]
    pipelines = resources(training, "AWS::SageMaker::Pipeline").values()
    names = [pipeline["Properties"]["PipelineName"] for pipeline in pipelines]
    assert names == [training["Outputs"][key]["Value"] for key in ("PipelineName", "RegistrationPipelineName")]
    assert names == [f"amplify-{environment}", f"amplify-{environment}-register"]
    settings = ENVIRONMENTS[environment]
    image = plain(training["Outputs"]["ImageUri"]["Value"])
    repository = rf"{settings.account}\.dkr\.ecr\.{settings.region}\.\$\{{AWS::URLSuffix\}}/amplify-{environment}"
    assert re.fullmatch(rf"{repository}:(cpu|gpu)-[0-9a-f]{{64}}", image)


@pytest.mark.parametrize("environment", ["local", "dev"])
def test_a_function_is_a_file_of_lambda_code_with_the_environment_that_it_reads(environment: str) -> None:
    functions = resources(templates()[f"{environment}/training"], "AWS::Lambda::Function").values()
    assert functions
    for function in functions:
        file, handler = function["Properties"]["Handler"].split(".")
        source = (ROOT / "lambda_code" / f"{file}.py").read_text(encoding="utf-8")
        given = set(function["Properties"].get("Environment", {}).get("Variables", {}))
        assert re.search(rf"^def {handler}\(event", source, re.MULTILINE)
        assert set(re.findall(r'os\.environ\["(\w+)"\]', source)) == given


def test_the_object_that_begins_a_run_is_the_one_that_people_put_and_prepare_leaves_alone() -> None:
    [rule] = resources(templates()["local/training"], "AWS::Events::Rule").values()
    assert rule["Properties"]["EventPattern"]["detail"]["object"]["key"] == [READY_KEY]
    assert f"proteins/{fasta.READY}" == READY_KEY


def test_the_deployment_tells_the_function_what_it_reads() -> None:
    [start] = resources(templates()["dev/training"], "Custom::ImageBuild").values()
    source = (ROOT / "lambda_code" / "start_image_build.py").read_text(encoding="utf-8")
    given = set(start["Properties"]) - {"ServiceToken", "ServiceTimeout"}
    assert set(re.findall(r'properties\["(\w+)"\]', source)) == given
    assert re.search(r'"Outcome": outcome', source)


@pytest.mark.parametrize("environment", [name for name, settings in ENVIRONMENTS.items() if settings.training])
def test_the_recipe_of_an_environment_is_a_file_that_ships(environment: str) -> None:
    training = ENVIRONMENTS[environment].training
    assert training is not None
    assert (ROOT / "model_code" / "recipes" / f"{training.recipe}.json").is_file()
