"""What is printed where no terminal is: plain lines, and times."""

import io
import re

import pytest
from rich.console import Console

from operate.errors import OperateError
from operate.screen import Screen, Step, print_error
from operate.watch import progress_text


def console() -> Console:
    return Console(file=io.StringIO(), width=60, force_terminal=False)


def text(of: Console) -> str:
    return of.file.getvalue()  # type: ignore[attr-defined]


def test_steps_are_numbered_and_each_shows_its_time() -> None:
    screen = Screen(console(), total=2)
    with screen.step("First [a]") as step:
        step.say("a line with [brackets]")
    with screen.step("Second"):
        pass
    lines = text(screen.console).splitlines()
    assert lines[:2] == ["[1/2] First [a]", "      a line with [brackets]"]
    assert re.fullmatch(r"      done in \d+\.\d s", lines[2])
    assert lines[3] == "[2/2] Second"
    assert list(screen.times) == ["First [a]", "Second"]


def test_a_step_that_fails_says_so_and_has_no_time() -> None:
    screen = Screen(console(), total=1)
    with pytest.raises(ValueError), screen.step("Only"):
        raise ValueError
    assert "not finished" in text(screen.console)
    assert screen.times == {}


def test_an_error_is_the_log_then_what_happened_then_what_to_do_unbroken() -> None:
    where = console()
    print_error(where, OperateError("It " + "failed " * 20, todo="Do this.", log_tail="line [1]\nline 2"))
    assert text(where).splitlines() == ["line [1]", "line 2", "", "✗ It " + "failed " * 20, "→ Do this."]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_training_shows_all_its_numbers_and_a_bar_at_every_usual_width(width: int) -> None:
    where = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    latest = {"step": 4990, "steps": 5000, "train_loss": 2.686, "validation_loss": 2.851, "residues_per_second": 123517}
    step = Step(where, "Train", news=progress_text(latest), share=0.5)
    where.print(step)
    for whole in ("step 4990 of 5000", "loss 2.686", "123,517 residues/s", "validation 2.851", "━" * 10):
        assert whole in text(where)
    assert len(text(where).rstrip("\n").splitlines()) == (2 if width < 110 else 1)
