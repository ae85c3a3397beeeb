"""The private names of ministack that `iam` uses.

What they do is held by the tests of `strict`, on a real server.
"""

import inspect

import pytest
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.services import iam, kms, s3, sts
from ministack.services.cloudformation import changesets, handlers, helpers, stacks

from local_aws.ministack_hooks import iam as hooks

FUNCTIONS = [  # module, name, its parameters as our code gives or takes them
    (iam_evaluator, "enforce", "access_key_id iam_action service region resource_arn service_context"),
    (iam_evaluator, "resolve_credential", "access_key_id account_id session_token"),
    (iam_evaluator, "resolve_principal", "access_key_id account_id credential"),
    (iam_evaluator, "evaluate_resource_policy", "doc ctx service named_only direct_only"),
    (iam_evaluator, "_is_root_key", "access_key_id"),
    (iam_evaluator, "_permissions_boundary", "store name account_id"),
    (iam_evaluator, "evaluate", "ctx policies limits"),
    (iam_actions, "identity_denial_message", "action principal_arn resource explicit_deny"),
    (iam_actions, "extract_iam_action", "service method path headers body query_params"),
    (iam_actions, "extract_resource_arn", "service method path headers body query_params region account_id"),
    (lambda_runtime, "execution_credentials", "config"),
    (sts, "register_session", "access_key session"),
    (sts, "_evict_expired_sessions", ""),
    (sts, "_session_expired", "session"),
    (kms, "_resolve_key", "key_id_or_arn"),
    (kms, "_check_key_state", "rec"),
    (s3, "_resolve_sse_write_headers", "headers bucket_name"),
    (s3, "_get_object", "bucket_name key headers query_params"),
    (s3, "_head_object", "bucket_name key headers query_params"),
    (s3, "_upload_part", "bucket_name key body query_params headers"),
    (s3, "_copy_object", "bucket_name dest_key headers"),
    (s3, "_upload_part_copy", "bucket_name dest_key query_params headers"),
    (s3, "_error", "code message status resource extra headers"),
    (helpers, "_p", "params key default"),
    (helpers, "_error", "code message status"),
    (changesets, "_find_change_set", "cs_name stack_name"),
    (stacks, "_provision_resource", "resource_type logical_id props stack_name"),
    (stacks, "_update_resource", "resource_type physical_id old_props new_props stack_name logical_id old_attrs"),
    (stacks, "_evaluate_conditions", "template params"),
]


@pytest.mark.parametrize(("module", "name", "parameters"), FUNCTIONS, ids=[name for _, name, _ in FUNCTIONS])
def test_a_function_is_there_and_takes_what_we_give_it(module, name, parameters):
    assert " ".join(inspect.signature(getattr(module, name)).parameters) == parameters


def test_the_tables_are_there():
    assert isinstance(sts._sessions, dict)
    assert isinstance(s3._multipart_uploads, object)
    assert callable(iam._roles.get_scoped)
    assert set(hooks.STACK_OPERATIONS) <= handlers._ACTION_HANDLERS.keys()


def test_the_evaluator_is_asked_by_its_name_in_its_module_so_that_ours_is_found():
    from ministack import app

    for function in (app._dispatch_service_request, app._enforce_data_plane):
        source = inspect.getsource(function)
        assert "from ministack.core.iam_evaluator import" in source
    assert "enforce" in inspect.getsource(app._enforce_data_plane)


def test_a_refusal_has_a_reason_and_words_that_we_can_change():
    assert "reason" in iam_evaluator.EvalResult.__dataclass_fields__
    assert hooks.NO_IDENTITY_POLICY in iam_actions.identity_denial_message("a:B", "me", "*", explicit_deny=False)
    assert "_permissions_boundary(iam_svc._roles" in inspect.getsource(iam_evaluator.resolve_principal)


def test_what_a_request_is_about_has_the_members_that_we_fill():
    fields = iam_evaluator.EvalContext.__dataclass_fields__
    ours = (
        "principal_arn",
        "principal_type",
        "principal_account",
        "action",
        "resource_arn",
        "region",
        "service_context",
    )
    assert set(ours) <= fields.keys()


@pytest.mark.parametrize(
    ("action", "request_body", "resource"),
    [
        ("CreateLogGroup", b'{"logGroupName": "/a"}', ":log-group:/a:log-stream:"),
        ("DescribeLogStreams", b'{"logGroupName": "/a"}', ":log-group:/a:log-stream:"),
        ("PutLogEvents", b'{"logGroupName": "/a", "logStreamName": "s/1"}', ":log-group:/a:log-stream:s/1"),
        ("DescribeLogGroups", b"{}", ":log-group::log-stream:"),
        (
            "FilterLogEvents",
            b'{"logGroupIdentifier": "arn:aws:logs:us-east-1:123456789012:log-group:/a:*"}',
            ":log-group:/a:log-stream:",
        ),
        ("CreateLogGroup", b"no json", ":log-group::log-stream:"),
    ],
)
def test_a_call_of_logs_is_on_the_resource_that_aws_names(action, request_body, resource):
    assert hooks._log_resource(action, request_body).endswith(resource)
