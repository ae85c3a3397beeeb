"""What a request to start a build would have otherwise than its project, and the condition keys that this sets.

A build of local AWS is what its project says (`builds`): what a request overrides is refused, not left out in silence.
"""

from collections.abc import Mapping
from typing import Any

from local_aws.errors import not_emulated

TAKEN = {"projectName", "idempotencyToken"}

# Member of StartBuild → condition key, from the Service Authorization Reference of CodeBuild
# (https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodebuild.html). A key is there where its
# member is (https://docs.aws.amazon.com/codebuild/latest/userguide/action-context-keys.html). Timeouts, source versions
# and debug sessions have none.
CONDITION_KEYS = {
    "artifactsOverride": "codebuild:artifacts",
    "autoRetryLimitOverride": "codebuild:autoRetryLimit",
    "buildspecOverride": "codebuild:source.buildspec",
    "cacheOverride": "codebuild:cache",
    "certificateOverride": "codebuild:environment.certificate",
    "computeTypeOverride": "codebuild:environment.computeType",
    "encryptionKeyOverride": "codebuild:encryptionKey",
    "environmentTypeOverride": "codebuild:environment.type",
    "environmentVariablesOverride": "codebuild:environment.environmentVariables",
    "fleetOverride": "codebuild:environment.fleet.fleetArn",
    "imageOverride": "codebuild:environment.image",
    "imagePullCredentialsTypeOverride": "codebuild:environment.imagePullCredentialsType",
    "insecureSslOverride": "codebuild:source.insecureSsl",
    "logsConfigOverride": "codebuild:logsConfig",
    "privilegedModeOverride": "codebuild:environment.privilegedMode",
    "registryCredentialOverride": "codebuild:environment.registryCredential",
    "secondaryArtifactsOverride": "codebuild:secondaryArtifacts",
    "secondarySourcesOverride": "codebuild:secondarySources",
    "serviceRoleOverride": "codebuild:serviceRole",
    "sourceLocationOverride": "codebuild:source.location",
}


def check(request: Mapping[str, Any]) -> None:
    """Raises SageMakerError, NotEmulated, where a request gives more than the project to build."""
    if more := sorted(set(request) - TAKEN):
        raise not_emulated(f"A build that differs from its project ({', '.join(more)})")


def conditions(request: Mapping[str, Any]) -> dict[str, Any]:
    """The condition keys that a request sets. Of a buildspec, and of what is no single value, only that it is there."""
    found: dict[str, Any] = {
        key: _text(request[member]) for member, key in CONDITION_KEYS.items() if request.get(member) is not None
    }
    if "buildspecOverride" in request:
        found[CONDITION_KEYS["buildspecOverride"]] = "true"
    variables = request.get("environmentVariablesOverride")
    named = [one for one in variables if isinstance(one, Mapping)] if isinstance(variables, list) else []
    for part in ("name", "value") if named else ():
        found[f"codebuild:environment.environmentVariables.{part}"] = [str(one.get(part, "")) for one in named]
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else "true"
