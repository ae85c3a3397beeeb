"""Types kept on record only: their stacks live and go as on AWS, and survive a killed server."""

import json

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until


def flow_log(resource_id):
    properties = {"ResourceId": resource_id, "ResourceType": "VPC", "TrafficType": "ALL"}
    return {"Log": {"Type": "AWS::EC2::FlowLog", "Properties": properties}}


def records(folder):
    files = (folder / "sagemaker").glob("*/*/recorded-resource/*.json")
    return [json.loads(file.read_text())["record"] for file in files]


def test_a_recorded_resource_is_made_changed_and_gone_with_its_stack(own_folder, clients_of, deploy, kill_9, on_disk):
    running = server.start(own_folder)
    aws = clients_of(running)
    outputs = {"Outputs": {"Id": {"Value": {"Ref": "Log"}}}}
    made = deploy(aws("cloudformation"), "records", flow_log("vpc-1"), **outputs)
    assert made["StackStatus"] == "CREATE_COMPLETE"
    [output] = made["Outputs"]
    assert output["OutputValue"].startswith("fl-")
    assert [record["Properties"]["ResourceId"] for record in records(own_folder)] == ["vpc-1"]
    assert deploy(aws("cloudformation"), "records", flow_log("vpc-2"), **outputs)["Outputs"] == [output]
    assert [record["Properties"]["ResourceId"] for record in records(own_folder)] == ["vpc-2"]

    on_disk(aws)
    kill_9(running)
    aws = clients_of(server.start(own_folder))
    aws("cloudformation").delete_stack(StackName="records")
    assert wait_until(lambda: records(own_folder) == [], 20)


def test_a_budget_is_known_by_its_name(aws, deploy):
    budget = {"BudgetName": "amplify-x", "BudgetType": "COST", "TimeUnit": "MONTHLY"}
    resources = {"Budget": {"Type": "AWS::Budgets::Budget", "Properties": {"Budget": budget}}}
    made = deploy(aws("cloudformation"), "budgets", resources, Outputs={"Name": {"Value": {"Ref": "Budget"}}})
    assert [output["OutputValue"] for output in made["Outputs"]] == ["amplify-x"]


# ---- notebooks -------------------------------------------------------------------------------------------------------

NOTEBOOK = {
    "InstanceType": "ml.t3.medium",
    "RoleArn": "arn:aws:iam::123456789012:role/notebook",
    "DirectInternetAccess": "Disabled",
    "LifecycleConfigName": {"Fn::GetAtt": ["Hooks", "NotebookInstanceLifecycleConfigName"]},
}


def notebook(name, **changed):
    hooks = {"OnStart": [{"Content": {"Fn::Base64": "#!/bin/sh"}}]}
    return {
        "Hooks": {"Type": "AWS::SageMaker::NotebookInstanceLifecycleConfig", "Properties": hooks},
        "Notebook": {
            "Type": "AWS::SageMaker::NotebookInstance",
            "Properties": {"NotebookInstanceName": name} | NOTEBOOK | changed,
        },
    }


def reason(cloudformation, stack):
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    return " ".join(event.get("ResourceStatusReason", "") for event in events)


def test_a_notebook_is_known_by_its_name_and_has_its_configuration(aws, deploy):
    outputs = {
        "Arn": {"Value": {"Ref": "Notebook"}},
        "Name": {"Value": {"Fn::GetAtt": ["Notebook", "NotebookInstanceName"]}},
        "Hooks": {"Value": {"Fn::GetAtt": ["Hooks", "NotebookInstanceLifecycleConfigName"]}},
    }
    made = deploy(aws("cloudformation"), "bench", notebook("bench-1"), Outputs=outputs)
    found = {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}
    assert found["Arn"] == "arn:aws:sagemaker:us-east-1:123456789012:notebook-instance/bench-1"
    assert found["Name"] == "bench-1"
    assert found["Hooks"].startswith("bench-")
    changed = deploy(aws("cloudformation"), "bench", notebook("bench-1", VolumeSizeInGB=30), Outputs=outputs)
    assert changed["StackStatus"] == "UPDATE_COMPLETE"
    assert {output["OutputKey"]: output["OutputValue"] for output in changed["Outputs"]} == found


def test_a_notebook_that_sagemaker_would_not_make_fails_its_stack_in_sagemakers_words(aws, deploy):
    cloudformation = aws("cloudformation")
    made = deploy(cloudformation, "bench-2", notebook("bench-2", InstanceType="ml.g5.tiny", VolumeSizeInGB=4))
    assert made["StackStatus"] == "ROLLBACK_COMPLETE"
    told = reason(cloudformation, "bench-2")
    assert "2 validation errors detected" in told
    assert "'ml.g5.tiny' at 'instanceType' failed to satisfy constraint" in told
    assert "Operation: CreateNotebookInstance, Error Code: ValidationException" in told


def test_a_second_notebook_of_the_same_name_is_refused_and_the_first_stays(aws, deploy):
    cloudformation = aws("cloudformation")
    assert deploy(cloudformation, "bench-3", notebook("bench-3"))["StackStatus"] == "CREATE_COMPLETE"
    assert deploy(cloudformation, "bench-4", notebook("bench-3"))["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "notebook-instance/bench-3 exists already" in reason(cloudformation, "bench-4")
    again = deploy(cloudformation, "bench-6", notebook("bench-3"))
    assert again["StackStatus"] == "ROLLBACK_COMPLETE", "the first roll-back took nothing of another stack's"
    cloudformation.delete_stack(StackName="bench-3")
    assert wait_until(lambda: gone(cloudformation, "bench-3"), 20)
    assert deploy(cloudformation, "bench-5", notebook("bench-3"))["StackStatus"] == "CREATE_COMPLETE"


def gone(cloudformation, stack):
    try:
        [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except cloudformation.exceptions.ClientError:
        return True
    return described["StackStatus"] == "DELETE_COMPLETE"


def test_what_is_done_with_a_notebook_is_said_not_to_be_here(aws):
    sagemaker = aws("sagemaker")
    with pytest.raises(ClientError, match="StartNotebookInstance is not emulated by local AWS"):
        sagemaker.start_notebook_instance(NotebookInstanceName="bench-1")
