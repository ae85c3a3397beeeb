"""The private names of ministack that `ecr` and `cross_account` use. What they do is held by tests on real servers."""

import inspect

import pytest
from ministack.core import iam_actions, iam_evaluator, responses
from ministack.services import ecr, iam, kms, s3

FUNCTIONS = [  # module, name, its parameters as our code gives or takes them
    (ecr, "_initiate_layer_upload", "data"),
    (ecr, "_upload_layer_part", "data"),
    (ecr, "_complete_layer_upload", "data"),
    (ecr, "_batch_check_layer_availability", "data"),
    (ecr, "_get_download_url_for_layer", "data"),
    (ecr, "_put_image", "data"),
    (ecr, "_batch_get_image", "data"),
    (ecr, "_describe_images", "data"),
    (ecr, "_image_digest", "manifest"),
    (ecr, "repository_policy_for_arn", "resource_arn"),
    (kms, "key_policy_for_arn", "resource_arn"),
    (s3, "_bucket_owner_account", "name"),
    (s3, "_foreign_bucket_allows", "owner_account bucket_name key method query_params caller headers"),
    (iam_actions, "_s3_action", "method path query_params"),
    (iam_actions, "s3_service_context", "iam_action query_params path headers"),
    (iam_evaluator, "_resolve_condition_key", "key ctx"),
    (responses, "_account_from_sts_session", "access_key_id"),
]


@pytest.mark.parametrize(("module", "name", "parameters"), FUNCTIONS, ids=[name for _, name, _ in FUNCTIONS])
def test_a_function_is_there_and_takes_what_we_give_it(module, name, parameters):
    assert " ".join(inspect.signature(getattr(module, name)).parameters) == parameters


def test_the_tables_are_there():
    assert callable(ecr._layer_blobs.get)
    assert callable(iam._roles.get_scoped)
    assert callable(s3._bucket_policies.get_scoped)
    assert inspect.isclass(iam_evaluator.ResolvedCredential)
    for function in ("handle_request",):  # the handlers are looked up when a request comes, by their names
        assert "_put_image" in inspect.getsource(getattr(ecr, function))
