"""Which key a write to S3 names, for the policies that ask; only strict mode loads it."""

from typing import Any

from ministack.core import iam_actions
from ministack.services import s3

ENCRYPTION = "x-amz-server-side-encryption"
TOLD = (f"{ENCRYPTION}-aws-kms-key-id", f"{ENCRYPTION}-customer-algorithm")


def tell_of_keys() -> None:
    """Set the condition keys of s3:PutObject that ministack leaves out: which key of KMS a write names, and whether it
    brings one of its own. A part of an upload, and its end, are as its beginning, by which ministack judges the rest.
    """
    told = iam_actions.s3_service_context

    def _s3_service_context(
        iam_action: str,
        query_params: dict[str, Any] | None,
        path: str = "",
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        context: dict[str, Any] = told(iam_action, query_params, path, headers)
        if iam_action != "s3:PutObject":
            return context
        [upload_id] = (query_params or {}).get("uploadId") or [""]
        asked = headers or {}
        if upload_id:
            upload = s3._multipart_uploads.get(upload_id) or {}
            asked = upload.get("preserved_headers", {}) if upload.get("requested_sse") else {}
        return context | {f"s3:{name}": asked[name] for name in TOLD if asked.get(name)}

    iam_actions.s3_service_context = _s3_service_context
