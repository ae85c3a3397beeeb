"""The roles that strict runs hold, and those that docs/real-account.md says they do not: all that there are."""

import copy
import re

from tests.e2e.held_roles import HELD, held, not_held, roles_of
from tests.e2e.role_work import WORK
from tests.e2e.strict_settings import SETTINGS
from tests.stacks.synthesis import Template, all_templates, resources, templates_of


def roles(templates: dict[str, Template]) -> set[str]:
    return {role for stack, template in templates.items() for role in roles_of(stack, template)}


def unknown(templates: dict[str, Template]) -> set[str]:
    return roles(templates) - held() - set(not_held())


def test_every_role_of_every_template_is_held_or_is_listed_with_its_reason() -> None:
    assert unknown(all_templates()) == set(), (
        "walk it (tests/e2e/held_roles.py), or say in docs/real-account.md why not"
    )


def test_a_new_role_is_found() -> None:
    templates = dict(all_templates())
    changed = copy.deepcopy(templates["dev/training"])
    [id_, *_] = resources(changed, "AWS::IAM::Role")
    changed["Resources"]["NewRole0A1B2C3D"] = changed["Resources"][id_]
    assert unknown({**templates, "dev/training": changed}) == {"training/NewRole"}
    other = {"Resources": {"Other0A1B2C3D": changed["Resources"][id_]}}
    assert unknown({**templates, "modes/async": other}) == {"endpoint/Other (async)"}


def test_what_is_listed_is_there_is_not_held_and_has_a_reason() -> None:
    assert set(not_held()) <= roles(all_templates()), "there is no such role any more"
    assert set(not_held()) & held() == set()
    assert all(re.search(r"\w{3,} \w+", why) for why in not_held().values())


def test_each_role_that_is_held_is_deployed_in_its_setting_and_has_its_work() -> None:
    for setting, wanted in HELD.items():
        there = {
            f"{stack.partition('/')[2]}/{id_[:-8]}"
            for stack, template in templates_of(SETTINGS[setting]).items()
            for id_ in resources(template, "AWS::IAM::Role")
        }
        assert set(wanted) <= there
        assert set(wanted) <= set(WORK)
        if setting == "realtime":
            assert there == set(wanted)
