"""What a person sees while something takes time: numbered steps, the latest news of the current one, its time.

At a terminal the news is one live line with a bar; in a log file (CI, a pipe) the same comes as plain lines, at most
one in ten seconds.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from operate.errors import OperateError

SECONDS_BETWEEN_PLAIN_LINES = 10.0
BAR = 24


@dataclass
class Step:
    """The step that is going on."""

    console: Console
    title: str
    begun: float = field(default_factory=time.monotonic)
    news: str = ""
    share: float | None = None
    """How much of it is done, 0 to 1, where that is known."""
    _told: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(f"      {escape(text)}", highlight=False, soft_wrap=not self.console.is_terminal)

    def show(self, text: str, share: float | None = None) -> None:
        """What is going on right now; the next call replaces it."""
        due = time.monotonic() - self._told > SECONDS_BETWEEN_PLAIN_LINES
        if text and not self.console.is_terminal and text != self.news and due:
            self._told = time.monotonic()
            self.say(text)
        self.news, self.share = text, share

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def __rich__(self) -> RenderableType:
        line = Table.grid(padding=(0, 1))
        news = Text(self.news, style="dim", overflow="ellipsis", no_wrap=True)
        begin = (Text("    "), self._spinner(), _clock(self.seconds))
        if self.share is None:
            line.add_row(*begin, news)
            return line
        bar = ProgressBar(total=1.0, completed=self.share, width=BAR)
        if self.console.width >= len(self.news) + BAR + 16:  # and what stands before and between them
            line.add_row(*begin, bar, news)
            return line
        line.add_row(*begin, bar)
        return Group(line, Text("      ").append_text(news))

    def _spinner(self) -> Spinner:
        spinner = Spinner("dots")
        spinner.start_time = 0.0  # rich begins anew with each object; this one is made for every frame
        return spinner


@dataclass
class Screen:
    """A sequence of steps on a console, and how long each took."""

    console: Console
    total: int
    times: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Announce a step, show its news while it runs, and its time at the end."""
        step = Step(self.console, title)
        number = f"[{len(self.times) + 1}/{self.total}]"
        self.console.print(f"[bold cyan]{escape(number)}[/] [bold]{escape(title)}[/]", highlight=False)
        try:
            with watched(step):
                yield step
        except BaseException:
            self.console.print(f"      [red]not finished, after {_duration(step.seconds)}[/]", highlight=False)
            raise
        self.times[title] = step.seconds
        self.console.print(f"      [green]done[/] in {_duration(step.seconds)}", highlight=False)


@contextmanager
def watched(step: Step) -> Iterator[Step]:
    """Show the step's news while the block runs."""
    if not step.console.is_terminal:
        yield step
        return
    with Live(step, console=step.console, refresh_per_second=8, transient=True):
        yield step


def print_error(console: Console, error: OperateError) -> None:
    """What happened, the end of the log that shows it, and what to do."""
    if error.log_tail:
        console.print(Text(error.log_tail, style="dim"), highlight=False, soft_wrap=True)
        console.print()
    console.print(Text.assemble(("✗ ", "bold red"), (error.message, "bold")), highlight=False, soft_wrap=True)
    if error.todo:
        console.print(Text.assemble(("→ ", "bold"), error.todo), highlight=False, soft_wrap=True)


def shown(path: Path) -> str:
    """A path as a person would type it here."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _clock(seconds: float) -> Text:
    return Text(f"{int(seconds) // 60}:{int(seconds) % 60:02d}")


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"
