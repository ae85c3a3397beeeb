"""SageMaker's resources in stacks: made, changed in place or replaced, rolled back, deleted, as AWS does it."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.small_images import ROLE, push_image, put_archive

# Serves the text of its model; refuses to start with the model "broken".
SERVE = """
import http.server, os, pathlib, sys
answer = (pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model" / "text").read_bytes()
if answer == b"broken":
    sys.exit("this model is broken")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
    def do_POST(self):
        self.do_GET()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def image(aws):
    """The URI of an image that serves."""
    return push_image(aws, "cloudformation-test", SERVE)


@pytest.fixture(scope="module")
def model(aws):
    """model(text) uploads an artefact that answers with `text`, and returns its URI."""
    return lambda text: put_archive(aws, "cloudformation-models", f"{text}.tar.gz", text=text)


@pytest.fixture
def name(request, aws):
    """A stack's name; the stack is deleted afterwards."""
    name = f"t{uuid.uuid4().hex[:8]}"
    yield name
    aws("cloudformation").delete_stack(StackName=name)
    aws("cloudformation").get_waiter("stack_delete_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )


def endpoint(name, image, url, **variant):
    """An endpoint with its model and configuration, as CDK writes them: numbers as numbers or text."""
    return {
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {"ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": image, "ModelDataUrl": url}},
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {
                "ProductionVariants": [
                    {
                        "VariantName": "model",
                        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                        "InstanceType": "ml.m5.xlarge",
                        "InitialInstanceCount": "1",
                        "InitialVariantWeight": "1.0",
                        **variant,
                    }
                ]
            },
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {
                "EndpointName": name,
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
            },
        },
    }


def outputs(stack):
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def answer_of(aws, endpoint_name):
    return aws("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint_name, Body=b"x")["Body"].read().decode()


def reasons(aws, stack_name):
    """What went wrong, first cause first."""
    events = aws("cloudformation").describe_stack_events(StackName=stack_name)["StackEvents"]
    failed = [event for event in reversed(events) if event["ResourceStatus"].endswith("_FAILED")]
    return [event.get("ResourceStatusReason", "") for event in failed]


def names(aws):
    """Every model, configuration and endpoint that there is."""
    sagemaker = aws("sagemaker")
    return (
        {model["ModelName"] for model in sagemaker.list_models(MaxResults=100)["Models"]}
        | {
            config["EndpointConfigName"]
            for config in sagemaker.list_endpoint_configs(MaxResults=100)["EndpointConfigs"]
        }
        | {each["EndpointName"] for each in sagemaker.list_endpoints(MaxResults=100)["Endpoints"]}
    )


def test_an_endpoint_is_served_when_its_stack_is_complete_and_gone_when_it_is_deleted(aws, deploy, name, image, model):
    before = names(aws)
    resources = endpoint(name, image, model("first"))
    references = {
        key: {"Value": value}
        for key, value in {
            "Arn": {"Ref": "Endpoint"},
            "Name": {"Fn::GetAtt": ["Endpoint", "EndpointName"]},
            "Model": {"Ref": "Model"},
        }.items()
    }
    stack = deploy(aws("cloudformation"), name, resources, Outputs=references)
    assert stack["StackStatus"] == "CREATE_COMPLETE", reasons(aws, name)
    assert answer_of(aws, name) == "first"
    assert outputs(stack)["Name"] == name
    assert outputs(stack)["Arn"] == f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}"
    assert outputs(stack)["Model"].startswith("arn:aws:sagemaker:us-east-1:123456789012:model/")
    aws("cloudformation").delete_stack(StackName=name)
    aws("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    assert names(aws) == before


def test_another_model_replaces_model_and_configuration_and_updates_the_endpoint(aws, deploy, name, image, model):
    deploy(aws("cloudformation"), name, endpoint(name, image, model("old")))
    old = names(aws)
    created = aws("sagemaker").describe_endpoint(EndpointName=name)["CreationTime"]
    stack = deploy(aws("cloudformation"), name, endpoint(name, image, model("new")))
    assert stack["StackStatus"] == "UPDATE_COMPLETE", reasons(aws, name)
    assert answer_of(aws, name) == "new"
    assert aws("sagemaker").describe_endpoint(EndpointName=name)["CreationTime"] == created
    assert len(old - names(aws)) == len(names(aws) - old) == 2  # the predecessors are deleted


def test_a_model_that_does_not_start_fails_the_stack_with_its_own_words_and_leaves_nothing(
    aws, deploy, name, image, model
):
    before = names(aws)
    stack = deploy(aws("cloudformation"), name, endpoint(name, image, model("broken")))
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "this model is broken" in reasons(aws, name)[0]
    assert names(aws) == before


def test_an_update_that_does_not_start_is_rolled_back_while_the_old_model_answers(aws, deploy, name, image, model):
    deploy(aws("cloudformation"), name, endpoint(name, image, model("good")))
    before = names(aws)
    stack = deploy(aws("cloudformation"), name, endpoint(name, image, model("broken")))
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "this model is broken" in reasons(aws, name)[0]
    assert answer_of(aws, name) == "good"
    assert names(aws) == before


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"ModelPackageGroupName": "no spaces allowed"}, "modelPackageGroupName"),
        ({"ModelPackageGroupName": "g", "Colour": "blue"}, "Colour"),
        ({"ModelPackageGroupName": "g", "Tags": [{"Key": "k"}]}, "value"),
    ],
)
def test_properties_that_aws_refuses_fail_the_stack_and_are_named(aws, deploy, name, properties, words):
    group = {"Group": {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": properties}}
    assert deploy(aws("cloudformation"), name, group)["StackStatus"] == "ROLLBACK_COMPLETE"
    assert words in reasons(aws, name)[0]


def test_a_group_that_still_holds_packages_is_not_deleted(aws, deploy, name, image, model):
    group = {
        "Group": {
            "Type": "AWS::SageMaker::ModelPackageGroup",
            "Properties": {"ModelPackageGroupName": name, "Tags": [{"Key": "project", "Value": "amplify"}]},
        }
    }
    assert deploy(aws("cloudformation"), name, group)["StackStatus"] == "CREATE_COMPLETE"
    container = {"Image": image, "ModelDataUrl": model("packaged")}
    content = {"SupportedContentTypes": ["application/json"], "SupportedResponseMIMETypes": ["application/json"]}
    package = aws("sagemaker").create_model_package(
        ModelPackageGroupName=name, InferenceSpecification={"Containers": [container], **content}
    )["ModelPackageArn"]
    aws("cloudformation").delete_stack(StackName=name)
    waiter = aws("cloudformation").get_waiter("stack_delete_complete")
    with pytest.raises(Exception, match="DELETE_FAILED"):
        waiter.wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 10})
    assert "contains packages" in reasons(aws, name)[0]
    aws("sagemaker").delete_model_package(ModelPackageName=package)


def test_tags_change_in_place(aws, deploy, name):
    def group(**tags):
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        properties = {"ModelPackageGroupName": name, "Tags": listed}
        return {"Group": {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": properties}}

    deploy(aws("cloudformation"), name, group(project="amplify", owner="me"))
    stack = deploy(aws("cloudformation"), name, group(project="other"))
    assert stack["StackStatus"] == "UPDATE_COMPLETE", reasons(aws, name)
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package-group/{name}"
    assert aws("sagemaker").list_tags(ResourceArn=arn)["Tags"] == [{"Key": "project", "Value": "other"}]


def test_a_name_that_somebody_chose_is_not_replaced_under_itself(aws, deploy, name):
    def group(description):
        properties = {"ModelPackageGroupName": name, "ModelPackageGroupDescription": description}
        return {"Group": {"Type": "AWS::SageMaker::ModelPackageGroup", "Properties": properties}}

    deploy(aws("cloudformation"), name, group("one"))
    assert deploy(aws("cloudformation"), name, group("two"))["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "custom-named resource requires replacing" in reasons(aws, name)[0]


def pipeline(name, *, message):
    definition = {
        "Version": "2020-12-01",
        "Parameters": [],
        "Steps": [{"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": message}}],
    }
    properties = {
        "PipelineName": name,
        "RoleArn": ROLE,
        "PipelineDefinition": {"PipelineDefinitionBody": json.dumps(definition)},
    }
    return {"Pipeline": {"Type": "AWS::SageMaker::Pipeline", "Properties": properties}}


def test_a_pipeline_is_made_changed_in_place_and_deleted(aws, deploy, name):
    stack = deploy(
        aws("cloudformation"), name, pipeline(name, message="one"), Outputs={"P": {"Value": {"Ref": "Pipeline"}}}
    )
    assert stack["StackStatus"] == "CREATE_COMPLETE", reasons(aws, name)
    assert outputs(stack) == {"P": name}
    stack = deploy(aws("cloudformation"), name, pipeline(name, message="two"))
    assert stack["StackStatus"] == "UPDATE_COMPLETE", reasons(aws, name)
    assert "two" in aws("sagemaker").describe_pipeline(PipelineName=name)["PipelineDefinition"]
    aws("cloudformation").delete_stack(StackName=name)
    aws("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    with pytest.raises(ClientError, match="does not exist"):
        aws("sagemaker").describe_pipeline(PipelineName=name)
