"""The private names of ministack that `encryption` uses. What they do, tests/local_aws/strict/test_keys.py holds."""

import inspect

import pytest
from ministack.core import iam_actions
from ministack.services import s3

from local_aws.ministack_hooks import encryption as hooks

KEY, CUSTOMERS = (f"s3:{name}" for name in hooks.TOLD)


@pytest.fixture(autouse=True)
def hooked(monkeypatch):
    monkeypatch.setattr(iam_actions, "s3_service_context", iam_actions.s3_service_context)
    hooks.tell_of_keys()


def test_the_function_takes_what_we_give_it_and_is_found_by_its_name_when_it_is_called():
    from ministack import app

    assert " ".join(inspect.signature(iam_actions.s3_service_context).parameters) == (
        "iam_action query_params path headers"
    )
    assert not hasattr(app, "s3_service_context")  # imported where it is called, so ours is


def test_a_write_tells_the_key_that_it_names_and_a_read_tells_none():
    headers = {hooks.ENCRYPTION: "aws:kms", hooks.TOLD[0]: "arn:key", hooks.TOLD[1]: "AES256"}
    told = iam_actions.s3_service_context("s3:PutObject", {}, "/bucket/object", headers)
    assert (told[KEY], told[CUSTOMERS], told[f"s3:{hooks.ENCRYPTION}"]) == ("arn:key", "AES256", "aws:kms")
    assert KEY not in iam_actions.s3_service_context("s3:GetObject", {}, "/bucket/object", headers)
    assert iam_actions.s3_service_context("s3:PutObject", {}, "/bucket/object", {}) == {}


@pytest.mark.parametrize(("asked", "told"), [("aws:kms", "arn:own"), (None, None)])
def test_a_part_is_as_the_beginning_of_its_upload_asked(monkeypatch, asked, told):
    upload = {"requested_sse": asked, "preserved_headers": {hooks.TOLD[0]: "arn:own"}}
    monkeypatch.setattr(s3, "_multipart_uploads", {"u": upload})
    context = iam_actions.s3_service_context("s3:PutObject", {"uploadId": ["u"]}, "/bucket/object", {})
    assert context.get(KEY) == told
