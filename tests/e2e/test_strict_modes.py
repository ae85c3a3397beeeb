"""The other modes of an endpoint under IAM: from a queue, on demand, in jobs; each right of their roles taken out."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Trap
from tests.e2e.held_roles import HELD
from tests.e2e.role_work import do_work
from tests.e2e.statements import statements, why_it_is_there
from tests.e2e.strict_project import StrictProject, serve, walked

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

MODES = [setting for setting in HELD if setting != "realtime"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[StrictProject]:
    with walked(tmp_path_factory.mktemp("modes"), trap, MODES[0]) as made:
        yield made


@pytest.mark.parametrize("setting", MODES)
def test_every_statement_of_a_serving_role_is_needed_or_is_for_a_call_that_aws_makes(
    project: StrictProject, setting: str
) -> None:
    if setting != MODES[0]:
        serve(project, setting)
    assert {role for role in project.roles() if role.startswith("endpoint/")} == set(HELD[setting])
    before = len(project.calls())
    for role in HELD[setting]:
        assert do_work(project, role) == "", role
    assert [call for call in project.calls()[before:] if not call["allowed"]] == []
    reasons = {str(one): why_it_is_there(project, one) for one in statements(project, of="endpoint/")}
    print("\n".join(f"{reason:<40} {text}" for text, reason in sorted(reasons.items())))
    unmet = [text for text, reason in reasons.items() if reason == "AWS's own calls"]
    assert all("kms:CreateGrant" in text or "cloudwatch:PutMetricData" in text for text in unmet), unmet
    assert len(unmet) < len(reasons) / 2
