"""What is printed where no terminal is: plain lines, and times."""

import io

import pytest
from rich.console import Console

from operate.errors import OperateError
from operate.screen import Screen, print_error


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
    assert lines[2].startswith("      done in 0.0 s")
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
