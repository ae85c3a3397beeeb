"""A stack's operation, moment by moment."""

import asyncio

from local_aws.ministack_hooks import cloudformation, stacks
from tests.local_aws.ministack_hooks.calls import call_cloudformation, template


class Follower:
    """Remembers what it was told, with the state of the stack at that moment."""

    def __init__(self):
        self.told = []

    def begun(self, stack):
        self.told.append(("begun", stack["StackStatus"]))

    def touches(self, stack, logical_id, kind, new):
        self.told.append(("touches", logical_id, new["A"]))

    def provisioned(self, stack):
        self.told.append(("provisioned", stack["StackStatus"]))

    def ended(self, stack):
        self.told.append(("ended", stack["StackStatus"], stacks.OPERATION in stack))


def failing(value, made):
    """A type whose creation and update fail for one value of A."""

    def make(_logical, properties, _stack):
        if properties["A"] == value:
            raise ValueError(f"no {value}")
        return "id", {}

    def update(physical, old, new, stack, logical):
        return make(logical, new, stack)

    cloudformation.add_resource_type(
        "AWS::SageMaker::Hook", create=make, update=update, delete=lambda physical, _: made.append(physical)
    )
    cloudformation.run_in_threads()


def test_every_moment_of_a_stacks_operations_is_told_before_anybody_can_see_it(ministack):
    follower = Follower()
    failing("bad", [])
    stacks.follow(follower)
    for action, value in (("CreateStack", "1"), ("UpdateStack", "2"), ("UpdateStack", "bad"), ("DeleteStack", None)):
        body = {} if value is None else {"TemplateBody": template("AWS::SageMaker::Hook", A=value)}
        call_cloudformation(ministack, action, StackName="followed", **body)
    assert follower.told == [
        ("begun", "CREATE_IN_PROGRESS"),
        ("touches", "Thing", "1"),
        ("ended", "CREATE_COMPLETE", False),
        ("begun", "UPDATE_IN_PROGRESS"),
        ("touches", "Thing", "2"),
        ("provisioned", "UPDATE_IN_PROGRESS"),
        ("ended", "UPDATE_COMPLETE", False),
        ("begun", "UPDATE_IN_PROGRESS"),
        ("touches", "Thing", "bad"),
        ("ended", "UPDATE_ROLLBACK_COMPLETE", False),
        ("begun", "DELETE_IN_PROGRESS"),
        ("ended", "DELETE_COMPLETE", False),
    ]


def test_an_executed_change_set_is_told_too(ministack):
    follower = Follower()
    failing("bad", [])
    stacks.follow(follower)
    body = template("AWS::SageMaker::Hook", A="1")
    given = {"StackName": "changed", "ChangeSetName": "c"}
    call_cloudformation(
        ministack, "CreateChangeSet", **given, ChangeSetType="CREATE", TemplateBody=body, review_is_an_end=True
    )
    assert follower.told == []
    call_cloudformation(ministack, "ExecuteChangeSet", **given)
    assert [told[0] for told in follower.told] == ["begun", "touches", "ended"]


def test_a_failed_stack_that_is_told_to_roll_back_is_told_too(ministack):
    follower = Follower()
    failing("bad", [])
    body = template("AWS::SageMaker::Hook", A="bad")
    call_cloudformation(ministack, "CreateStack", StackName="rolled", TemplateBody=body, DisableRollback="true")
    stacks.follow(follower)
    assert "ROLLBACK_COMPLETE" in call_cloudformation(ministack, "RollbackStack", StackName="rolled")
    assert [told[0] for told in follower.told] == ["begun", "ended"]


def test_a_stack_in_the_midst_of_its_work_is_found_and_can_be_rolled_back(ministack):
    deleted = []
    failing("bad", deleted)
    stacks.follow(Follower())
    body = template("AWS::SageMaker::Hook", A="1")
    call_cloudformation(ministack, "CreateStack", StackName="midst", TemplateBody=body)
    with stacks.scope_of("222222222222", "eu-west-1"):
        stack = stacks.engine._stacks["midst"]
        stack["StackStatus"] = "CREATE_IN_PROGRESS"
        assert ("222222222222", "eu-west-1", stack) in stacks.unfinished()
        asyncio.run(stacks.roll_back(stack, "why"))
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert stack not in [found for _, _, found in stacks.unfinished()]
    assert deleted == ["id"]
