"""Builds."""

import json
import threading

import pytest

from local_aws.errors import not_emulated
from local_aws.ministack_hooks import codebuild as hooks
from local_aws.ministack_hooks import requests
from local_aws.processes import wait_until
from tests.local_aws.ministack_hooks.calls import call_cloudformation, request, template


@pytest.fixture
def codebuild(monkeypatch):
    """ministack's CodeBuild, its hooks as they were after the test."""
    codebuild = hooks.codebuild
    for name in ("EXECUTE_BUILDS", "_execute_build", "_get_docker", "_start_build"):
        monkeypatch.setattr(codebuild, name, getattr(codebuild, name))
    return codebuild


def call_codebuild(ministack, operation, **parameters):
    headers = {"x-amz-target": f"CodeBuild_20161006.{operation}"}
    return request(ministack, "codebuild", "/", json.dumps(parameters).encode(), **headers).json()


def project(name):
    given = [{"name": "IMAGE", "value": "repository:tag"}]
    return {
        "name": name,
        "source": {"type": "NO_SOURCE"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {"type": "LINUX_CONTAINER", "image": "i", "environmentVariables": given},
        "serviceRole": "arn:aws:iam::222222222222:role/any",
    }


@pytest.mark.parametrize(("failure", "status"), [(None, "SUCCEEDED"), ("no disk", "FAILED")])
def test_a_build_is_ours_from_its_start_to_its_end(ministack, codebuild, failure, status):
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def carry_out(build):
        assert build.variables == {"IMAGE": "repository:tag"}
        assert (requests.account(), requests.region()) == ("222222222222", "eu-west-1")
        build.begin("BUILD")
        began.set()
        go_on.wait(10)
        build.end(failure)
        ended.set()

    hooks.run_builds(carry_out)
    name = f"hooks-{status}"
    call_codebuild(ministack, "CreateProject", **project(name))
    started = call_codebuild(ministack, "StartBuild", projectName=name)["build"]
    assert started["buildStatus"] == "IN_PROGRESS"
    assert began.wait(10)

    def described():
        return call_codebuild(ministack, "BatchGetBuilds", ids=[started["id"]])["builds"][0]

    assert described()["currentPhase"] == "BUILD"
    go_on.set()
    assert ended.wait(10)
    phases = {phase["phaseType"]: phase for phase in described()["phases"]}
    assert (described()["buildStatus"], phases["BUILD"]["phaseStatus"]) == (status, status)
    assert phases["QUEUED"]["phaseStatus"] == "SUCCEEDED"
    assert [context["message"] for context in phases["BUILD"].get("contexts", [])] == ([failure] if failure else [])


def test_a_build_that_somebody_stops_is_not_finished_by_us(ministack, codebuild):
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def carry_out(build):
        began.set()
        go_on.wait(10)
        build.end()
        ended.set()

    hooks.run_builds(carry_out)
    call_codebuild(ministack, "CreateProject", **project("hooks-stopped"))
    started = call_codebuild(ministack, "StartBuild", projectName="hooks-stopped")["build"]
    assert began.wait(10)
    call_codebuild(ministack, "StopBuild", id=started["id"])
    go_on.set()
    assert ended.wait(10)
    [build] = call_codebuild(ministack, "BatchGetBuilds", ids=[started["id"]])["builds"]
    assert build["buildStatus"] == "STOPPED"


def test_a_build_that_is_refused_is_answered_so_and_never_begins(ministack, codebuild):
    begun, refusals = [], [not_emulated("An override"), None]

    def check(request):
        assert request["projectName"] == "hooks-refused"
        if (refusal := refusals.pop(0)) is not None:
            raise refusal

    hooks.run_builds(begun.append)
    hooks.refuse_builds(check)
    call_codebuild(ministack, "CreateProject", **project("hooks-refused"))
    answer = call_codebuild(ministack, "StartBuild", projectName="hooks-refused")
    assert (answer["__type"], begun) == ("NotEmulated", [])
    assert call_codebuild(ministack, "StartBuild", projectName="hooks-refused")["build"]["buildStatus"] == "IN_PROGRESS"
    assert wait_until(lambda: len(begun) == 1, 10)


def test_a_project_of_a_stack_keeps_the_log_group_it_names(ministack, codebuild):
    groups = []
    hooks.run_builds(lambda build: groups.append(build.log[0]))
    properties = {
        "Name": "hooks-log",
        "ServiceRole": "arn:aws:iam::222222222222:role/any",
        "Source": {"Type": "NO_SOURCE"},
        "Artifacts": {"Type": "NO_ARTIFACTS"},
        "Environment": {"Type": "LINUX_CONTAINER", "Image": "i", "ComputeType": "BUILD_GENERAL1_SMALL"},
        "LogsConfig": {"CloudWatchLogs": {"Status": "ENABLED", "GroupName": "a-group"}},
    }
    call_cloudformation(
        ministack, "CreateStack", StackName="log", TemplateBody=template("AWS::CodeBuild::Project", **properties)
    )
    call_codebuild(ministack, "StartBuild", projectName="hooks-log")
    properties["LogsConfig"]["CloudWatchLogs"]["GroupName"] = "another-group"
    call_cloudformation(
        ministack, "UpdateStack", StackName="log", TemplateBody=template("AWS::CodeBuild::Project", **properties)
    )
    call_codebuild(ministack, "StartBuild", projectName="hooks-log")
    assert wait_until(lambda: len(groups) == 2, 10)
    assert groups == ["a-group", "another-group"]
