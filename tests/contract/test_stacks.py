"""The seam between the stacks and everyone who deploys or asks them: names, outputs, recipes."""

import re

import pytest

from environments import ENVIRONMENTS
from tests.stacks.mode_examples import mode_templates
from tests.stacks.readable import plain
from tests.stacks.synthesis import ROOT, manifests, only, resources, templates

OUTPUTS = {
    "storage": {"DataBucketName", "ArtifactBucketName", "KeyArn", "AlarmTopicArn"},
    "registry": {"ModelPackageGroupName", "RepositoryUri"},
    "network": {"VpcId"},
    "training": {"PipelineName", "RegistrationPipelineName", "ImageUri", "CodeBundleUri"},
    "endpoint": {"EndpointName", "ModelPackageArn", "InvokePolicyArn"},
}
OF_A_MODE = {  # beside ModelPackageArn and InvokePolicyArn
    "realtime": {"EndpointName", "ShadowModelPackageArn"},
    "async": {"EndpointName", "InputPrefix", "OutputPrefix", "FailurePrefix", "SuccessTopicArn", "ErrorTopicArn"},
    "serverless": {"EndpointName"},
    "inference_components": {"EndpointName", "InferenceComponentName"},
    "batch": {"ModelName", "InputPrefix", "OutputPrefix"},
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
    outputs = {name for name in templates()[stack]["Outputs"] if not name.startswith("ExportsOutput")}
    assert outputs == OUTPUTS[stack.split("/")[1]]


@pytest.mark.parametrize("mode", OF_A_MODE)
def test_an_endpoint_stack_has_the_outputs_of_its_mode(mode: str) -> None:
    outputs = mode_templates()[f"modes/{mode}"]["Outputs"]
    assert set(outputs) == OF_A_MODE[mode] | {"ModelPackageArn", "InvokePolicyArn"}
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


@pytest.mark.parametrize("environment", [name for name, settings in ENVIRONMENTS.items() if settings.training])
def test_the_recipe_of_an_environment_is_a_file_that_ships(environment: str) -> None:
    training = ENVIRONMENTS[environment].training
    assert training is not None
    assert (ROOT / "model_code" / "recipes" / f"{training.recipe}.json").is_file()
