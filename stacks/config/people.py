"""Who does what in an environment: IAM roles of people, each given the policy of what it is named for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from stacks.config.checks import not_matching
from stacks.config.settings import Settings

ROLE_NAME = r"[\w+=,.@-]{1,64}"
ROLE_ARN = rf"arn:aws[a-z-]*:iam::(\d{{12}}):role/(?:[\x21-\x7e]+/)?({ROLE_NAME})"


@dataclass(frozen=True, kw_only=True)
class People(Settings):
    """Roles of the environment's account, by name or ARN. One role may be named in several fields: then it may do all
    of that. Those who ask the endpoint are `invokers` of its own settings.

    The policies exist whoever is named, `amplify-<env>-trainer` and so on: a permission set of IAM Identity Center
    names them itself.
    """

    trainers: tuple[str, ...] = ()
    """Lay proteins and weights into the data bucket, start and stop runs, and follow them."""

    approvers: tuple[str, ...] = ()
    """Read what runs did and made, and approve or reject registered models. Apart from trainers: two pairs of eyes."""

    deployers: tuple[str, ...] = ()
    """Assume the roles of the CDK's bootstrap in this account and region, and see what is deployed. Those roles deploy
    *every* CDK app of the account: name nobody whom the account is not entrusted to."""

    promoters: tuple[str, ...] = ()
    """Copy releases from the environment before, watch their deployment and keep their record, by two roles of the
    environment that they may assume. Where an environment takes part in promotion."""

    auditors: tuple[str, ...] = ()
    """Read how everything is set, what runs scored and what was logged, and look for what was changed by hand: by two
    policies, `-auditor` and `-drift`. No proteins (but the names of objects), no models, no changes."""

    def _faults(self) -> Iterable[str]:
        for field in fields(self):
            yield from role_faults(field.name, getattr(self, field.name), f"amplify-<env>-{field.name[:-1]}")

    def strangers(self, account: str) -> Iterable[str]:
        """What is wrong where the roles are to be of this account."""
        for field in fields(self):
            for role in getattr(self, field.name):
                if role_account(role) not in (None, account):
                    yield f"people.{field.name} holds {role}: give roles of account {account}"


def role_faults(field: str, given: object, policy: str) -> Iterable[str]:
    """What is wrong with roles that a policy of ours, called `policy`, is to be attached to."""
    if not isinstance(given, tuple):
        yield f"{field} is {given!r}: give a tuple of role names or ARNs"
        return
    for role in given:
        wanted = "the name or the ARN of an IAM role, such as analysis-notebooks"
        yield from not_matching(field, role, f"{ROLE_NAME}|{ROLE_ARN}", wanted)
        if "/aws-reserved/" in str(role) or str(role).startswith(("AWSReservedSSO_", "AWSServiceRole")):
            yield (
                f"{field} holds {role}: IAM lets nobody attach policies to this role; "
                f"name the policy {policy} in its permission set"
            )
    if len({role_name(str(role)) for role in given}) < len(given):
        yield f"{field} is {given}: give each once, by its name or its ARN"


def role_account(role: str) -> str | None:
    """The account in a role's ARN; None where only a name is given."""
    match = re.fullmatch(ROLE_ARN, role)
    return match[1] if match else None


def role_name(role: str) -> str:
    """The name of a role given by name or ARN: what IAM attaches policies to."""
    return role.rpartition("/")[2]
