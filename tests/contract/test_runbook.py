"""The seam between alarms and people: each alarm names its entry of the runbook, and each entry is of use."""

import re
from typing import Any

import pytest
from typer.main import get_command

from operate.cli import app
from stacks.constructs.ringing_alarm import RUNBOOK
from tests.stacks.mode_examples import mode_templates
from tests.stacks.synthesis import ROOT, Template, all_templates, resources

SPEND = "spend"  # the entry of budgets, which have no description to name it in
PAGE = (ROOT / RUNBOOK).read_text(encoding="utf-8")
PARTS = ("**It means**", "**Look at**", "**Do**")


def everything() -> dict[str, Template]:
    return all_templates() | mode_templates()


def alarms() -> dict[str, dict[str, Any]]:
    """`dev/endpoint AlarmsLatency…` → its properties, of every template there is."""
    return {
        f"{stack} {id_}": alarm["Properties"]
        for stack, template in everything().items()
        for id_, alarm in resources(template, "AWS::CloudWatch::Alarm").items()
    }


def entry_of(alarm: dict[str, Any]) -> str | None:
    found = re.search(rf" Runbook: {re.escape(RUNBOOK)}#([a-z0-9-]+)$", alarm.get("AlarmDescription", ""))
    return found[1] if found else None


def entries() -> dict[str, str]:
    """Anchor, as GitHub makes it of a heading → the entry's text."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)[1:]
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"): text
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_alarm_of_every_template_names_an_entry_that_is_there() -> None:
    assert {name: entry_of(alarm) for name, alarm in alarms().items() if entry_of(alarm) not in entries()} == {}


def test_every_entry_has_its_alarm() -> None:
    budgets = any(resources(template, "AWS::Budgets::Budget") for template in everything().values())
    named = {entry_of(alarm) for alarm in alarms().values()} | ({SPEND} if budgets else set())
    assert set(entries()) - named == set()


@pytest.mark.parametrize("entry", entries())
def test_an_entry_says_what_it_means_what_to_look_at_and_what_to_do(entry: str) -> None:
    text = entries()[entry]
    places = [text.find(part) for part in PARTS]
    assert -1 not in places
    assert places == sorted(places)
    assert all(len(part.strip()) > 15 for part in re.split("|".join(map(re.escape, PARTS)), text)[1:])


def test_the_commands_that_it_names_exist() -> None:
    known: Any = get_command(app)
    named = re.findall(r"`amplify ([a-z]+)([^`]*)`", PAGE)
    assert len(named) > 20
    assert sum("--" in rest for _, rest in named) > 10  # so that this finds options at all
    for name, rest in named:
        assert name in known.commands, name
        command = known.commands[name]
        parts = [command, *getattr(command, "commands", {}).values()]
        options = {text for part in parts for parameter in part.params for text in parameter.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options, (name, rest)


def test_its_links_lead_to_its_own_entries() -> None:
    assert {anchor for anchor in re.findall(r"\(#([\w-]+)\)", PAGE) if anchor not in entries()} == set()


def test_an_alarm_says_in_words_what_is_the_matter_within_what_cloudwatch_keeps() -> None:
    for name, alarm in alarms().items():
        text = alarm["AlarmDescription"]
        assert 30 < len(text.split(" Runbook:")[0]) < 1024, name
