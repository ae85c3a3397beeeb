"""Data capture: a share of an endpoint's requests and answers, as JSON Lines in S3.

A line is on the disk before the next second, and in S3 a few seconds later; what a killed server left, the next one
puts. Files lie below `<destination>/<endpoint>/<variant>/yyyy/mm/dd/hh/`, as on AWS.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html
"""

import base64
import hashlib
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local_aws import identity
from local_aws.s3_files import S3Error, upload_file
from local_aws.settings import current
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

PUT_SECONDS = 2.0
GIVE_UP_SECONDS = 3600.0  # a destination that refuses files for so long gets no more attempts
ALL = {"INPUT", "OUTPUT"}
MODES = {"Input": {"INPUT"}, "Output": {"OUTPUT"}, "InputAndOutput": ALL}

_lock = threading.Lock()


@dataclass(frozen=True)
class Exchange:
    """A request and its answer."""

    content_type: str
    body: bytes
    answer_type: str
    answer: bytes
    custom_attributes: str | None = None
    inference_id: str | None = None


def offer(
    scope: Scope,
    endpoint: str,
    variant: str,
    config: Mapping[str, Any] | None,
    exchange: Exchange,
    role: str | None = None,
) -> None:
    """Keep an exchange, if the configuration's sample takes it; `role` will put it into S3."""
    if not config or not config.get("EnableCapture", False):
        return
    if random.random() * 100 >= config["InitialSamplingPercentage"]:  # noqa: S311
        return
    text = json.dumps(line(config, exchange)) + "\n"
    folder = _folder(scope, endpoint, variant)
    about = json.dumps({"uri": config["DestinationS3Uri"].rstrip("/"), "kms": config.get("KmsKeyId"), "role": role})
    with _lock:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"lines-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
        known = file.exists()
        with file.open("a") as stream:
            if not known:  # where it goes, before the lines: whoever puts it may be another server
                stream.write(about + "\n")
            stream.write(text)


def line(config: Mapping[str, Any], exchange: Exchange) -> dict[str, Any]:
    """One line of the file, in AWS's form."""
    modes = set[str]().union(*(MODES[option["CaptureMode"]] for option in config["CaptureOptions"]))
    headers = config.get("CaptureContentTypeHeader", {})
    captured = {}
    if "INPUT" in modes:
        captured["endpointInput"] = _side("INPUT", exchange.content_type, exchange.body, headers)
    if "OUTPUT" in modes:
        captured["endpointOutput"] = _side("OUTPUT", exchange.answer_type, exchange.answer, headers)
    about: dict[str, Any] = {
        "eventId": str(uuid.uuid4()),
        "inferenceTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if exchange.custom_attributes:
        about["customAttributes"] = [exchange.custom_attributes]
    if exchange.inference_id:
        about["inferenceId"] = exchange.inference_id
    return {"captureData": captured, "eventMetadata": about, "eventVersion": "0"}


def _side(mode: str, content_type: str, body: bytes, headers: Mapping[str, list[str]]) -> dict[str, str]:
    """A body as text where its type is listed as text, else in Base64."""
    kind = content_type.partition(";")[0].strip().lower()
    encoding = "BASE64"
    for name, types in (("CSV", headers.get("CsvContentTypes", [])), ("JSON", headers.get("JsonContentTypes", []))):
        if kind in (each.lower() for each in types):
            encoding = name
    try:
        data = body.decode() if encoding != "BASE64" else base64.b64encode(body).decode()
    except UnicodeDecodeError:  # it says that it is text, and is none
        encoding, data = "BASE64", base64.b64encode(body).decode()
    return {"observedContentType": content_type, "mode": mode, "data": data, "encoding": encoding}


def start() -> None:
    threading.Thread(target=_run, name="data capture", daemon=True).start()


def put_all() -> None:
    """Put every line that waits. What S3 refuses waits for the next time."""
    root = current().captures
    for file in [*root.glob("*/*/*/*/lines-*"), *root.glob("*/*/*/*/*.putting")]:
        try:
            _put(file)
        except FileNotFoundError:
            continue
        except S3Error as error:
            logger.warning("data capture: %s", error)


def _run() -> None:
    while True:
        time.sleep(PUT_SECONDS)
        try:
            put_all()
        except Exception:
            logger.exception("data capture failed; trying again")


def _put(file: Path) -> None:
    account, region, endpoint, variant = file.parent.relative_to(current().captures).parts
    if file.name.startswith("lines-"):
        with _lock:
            file = file.rename(file.with_name(f"{time.time_ns()}-{uuid.uuid4()}.putting"))
    taken, _, unique = file.name.removesuffix(".putting").partition("-")
    seconds = int(taken) / 1e9
    head, _, lines = file.read_bytes().partition(b"\n")
    about, at = json.loads(head), datetime.fromtimestamp(seconds, UTC)
    name = f"{at:%Y/%m/%d/%H/%M-%S}-{at.microsecond // 1000:03d}-{unique}.jsonl"
    upload = file.with_suffix(".upload")
    upload.write_bytes(lines)
    try:
        with identity.acting_as(about.get("role")):
            upload_file(Scope(account, region), upload, f"{about['uri']}/{endpoint}/{variant}/{name}", about["kms"])
    except S3Error:
        if time.time() - seconds < GIVE_UP_SECONDS:
            raise
        logger.error("data capture of endpoint %s: %s is given up", endpoint, about["uri"])
    finally:
        upload.unlink(missing_ok=True)
    file.unlink()


def _folder(scope: Scope, endpoint: str, variant: str) -> Path:
    return current().captures / scope.account / scope.region / endpoint / variant
