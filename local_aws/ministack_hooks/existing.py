"""What CloudFormation does with what is there already: adopts it (import), and compares it with its stack (drift)."""

import json
from collections.abc import Callable, Collection
from typing import Any

from ministack.services import cloudwatch, ecr, iam, kms, s3, sns
from ministack.services.cloudformation import changesets, drift, provisioners

from local_aws.ministack_hooks.cloudformation import Created, Properties

Reader = Callable[[str, Properties], Properties | None]


# ---- import ----------------------------------------------------------------------------------------------------------


def let_import(kind: str, identifier: str, find: Callable[[str], Created | None]) -> None:
    """Let change sets import resources of `kind`, a type that CloudFormation provisions here already.

    `identifier` is the property that names one, such as RepositoryName; `find` gives what creating it would have given,
    or None where there is none.
    """

    def problem(value: str) -> str | None:
        return None if find(value) else changesets._IMPORT_NOT_FOUND.format(type=kind, value=value)

    def adopt(given: dict[str, str]) -> Created:
        found = find(given[identifier])
        if found is None:
            raise ValueError(problem(given[identifier]))
        return found

    changesets._IMPORT_LOOKUPS[kind] = ((identifier,), problem)
    provisioners._RESOURCE_HANDLERS[kind]["import"] = adopt


def repository(name: str) -> Created | None:
    """An image repository as its creation by CloudFormation tells of it; None where there is none."""
    found = ecr._repositories.get(name)
    return found and (name, {"Arn": found["repositoryArn"], "RepositoryUri": found["repositoryUri"]})


def refuse_second_repositories() -> None:
    """Let CloudFormation not make a repository that is there, as ECR does not: ministack would write over it."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ECR::Repository"]
    create = handlers["create"]

    def create_repository(logical_id: str, properties: Properties, stack_name: str) -> Created:
        name = properties.get("RepositoryName")
        if name and repository(name):
            raise ValueError(
                f"The repository with name '{name}' already exists (Service: Ecr, Operation: CreateRepository, "
                "Error Code: RepositoryAlreadyExistsException)"
            )
        created: Created = create(logical_id, properties, stack_name)
        return created

    handlers["create"] = create_repository


def attach_to_those_who_are_there() -> None:
    """Let CloudFormation refuse a managed policy for a role that does not exist, as IAM does, and as ministack does for
    inline policies: it would leave the role out without a word."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::IAM::ManagedPolicy"]
    create, update = handlers["create"], handlers["update"]

    def create_policy(logical_id: str, properties: Properties, stack_name: str) -> Created:
        provisioners._iam_policy_require_entities(properties)
        created: Created = create(logical_id, properties, stack_name)
        return created

    def update_policy(
        physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str | None = None
    ) -> Created:
        provisioners._iam_policy_require_entities(new)
        updated: Created = update(physical_id, old, new, stack_name, logical_id)
        return updated

    handlers.update(create=create_policy, update=update_policy)


# ---- drift -----------------------------------------------------------------------------------------------------------


def compare(kind: str, read: Reader, properties: Collection[str]) -> None:
    """Let drift detection compare these properties of a type: read(physical id, the template's properties) gives what
    they are now, in the template's shape; None where the resource is gone. It runs on the event loop: it may not wait.

    A type of which ministack reads something itself is read by both.
    """
    before, known = drift._DRIFT_READERS.get(kind, (None, frozenset()))

    def read_both(physical_id: str, expected: Properties) -> Properties | None:
        found = {} if before is None else before(physical_id, expected)
        ours = None if found is None else read(physical_id, expected)
        return None if found is None or ours is None else {**found, **ours}

    drift._DRIFT_READERS[kind] = (read_both, frozenset(known) | frozenset(properties))


def bucket_policy(bucket: str) -> Any:
    """A bucket's policy document; None where it has none."""
    return _document(s3._bucket_policies.get(bucket))


def bucket_configuration(bucket: str, what: str) -> bytes:
    """What S3 answers to a request for a bucket's `encryption`, `lifecycle`, `logging` or `public_access`: its XML, or
    nothing where the answer is an error."""
    answer = {
        "encryption": s3._get_bucket_encryption,
        "lifecycle": s3._get_bucket_lifecycle,
        "logging": s3._get_bucket_logging,
        "public_access": s3._get_public_access_block,
    }[what](bucket)
    content = answer[2] if answer[0] == 200 else b""
    return content.encode() if isinstance(content, str) else content


def key(key_id: str) -> dict[str, Any] | None:
    """A KMS key's policy document and whether it rotates; None where it is gone, or about to be."""
    found = kms._keys.get(key_id)
    if found is None or found.get("KeyState") == "PendingDeletion":
        return None
    return {"policy": _document(found.get("Policy")), "rotates": bool(found.get("KeyRotationEnabled"))}


def inline_policy(role: str, name: str) -> Any:
    """The document of a role's inline policy; None where the role has none of that name, or is gone."""
    return _document((iam._roles.get(role) or {}).get("InlinePolicies", {}).get(name))


def managed_policy(arn: str) -> Any:
    """The document of a managed policy's default version; None where there is none."""
    found = iam._policies.get(arn)
    if found is None:
        return None
    return _document(found["Versions"][found["DefaultVersionId"]]["Document"])


def topic_policy(arn: str) -> Any:
    """A topic's policy document; None where the topic is gone."""
    return _document((sns._topics.get(arn) or {}).get("attributes", {}).get("Policy"))


def metric_alarm(name: str) -> Properties | None:
    """A metric alarm, None where there is none."""
    found: Properties | None = cloudwatch._alarms.get(name)
    return found


def _document(text: Any) -> Any:
    return json.loads(text) if isinstance(text, str) else text
