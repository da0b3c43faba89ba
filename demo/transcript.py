"""What is printed. Nothing here decides anything."""

import json
import time
from typing import Any, cast

from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.text import Text

from chart import Bar

WIDTH = 100
INDENT = 15
PAUSE_S = 0.25  # after each thing that a person wants to read, at a terminal only


class Transcript:
    """Lines with the seconds since the start."""

    def __init__(self, console: Console, *, fast: bool) -> None:
        self._console = console
        self._pause_s = PAUSE_S if console.is_terminal and not fast else 0.0
        self._began = time.monotonic()
        self.claims = 0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def title(self, text: str, below: str) -> None:
        """The head of the whole."""
        self._console.print(Text(text, style="bold"))
        self._console.print(Text(below, style="dim"))

    def phase(self, number: int, text: str) -> None:
        """A new part of the story."""
        self._pause()
        self._console.print()
        self._console.print(Text(f"{number}. {text}", style="bold cyan"))

    def say(self, text: str) -> None:
        """A remark."""
        self._line("", Text(text, style="dim"))

    def call(self, tool: str, arguments: dict[str, Any]) -> None:
        """The agent calls a tool."""
        shown = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
        self._line("call ", Text.assemble((tool, "bold magenta"), f"({shown})"))

    def answer(self, text: str) -> None:
        """What the tool answered, in brief."""
        self._line("  -> ", Text(text))
        self._pause()

    def claim(self, text: str) -> None:
        """Something that has been checked."""
        self.claims += 1
        self._line("  ok ", Text(text, style="green"))

    def strike(self, text: str) -> None:
        """Something drastic."""
        self._line("  !! ", Text(text, style="bold red"))
        self._pause()

    def source(self, text: str) -> None:
        """Python source."""
        self._console.print()
        code = Syntax(text.strip(), "python", theme="ansi_dark", background_color="default", word_wrap=True)
        self._console.print(code, new_line_start=False)
        self._console.print()
        self._pause()

    def value(self, value: dict[str, Any]) -> None:
        """A JSON object, a line for each member."""
        for name, member in value.items():
            rows = cast("list[Any]", member) if isinstance(member, list) else []
            if rows and isinstance(rows[0], dict):
                self._under(f"{name}:")
                for row in rows:
                    self._under("  " + _dump(row))
            else:
                self._under(f"{name}: {_dump(member)}")
        self._pause()

    def chart(self, bars: list[Bar], seconds: float) -> None:
        """Bars over time."""
        columns = min(60, self._console.width - 30)
        self._console.print()
        for bar in bars:
            first = min(int(bar.start * columns), columns - 1)
            last = max(first + 1, round(bar.end * columns))
            cells = [" "] * columns
            cells[first:last] = [bar.cell] * (last - first)
            if bar.cut:
                cells[last - 1] = "X"
            row = Text(f"     {bar.name:<12}")
            row.append("".join(cells), style=bar.style)
            row.append(f" {bar.note}", style="dim")
            self._console.print(row, no_wrap=True)
        self._console.print(Text(f"     {'':<12}0 s{f'{seconds:.2f} s':>{columns - 3}}", style="dim"))
        self._console.print(Text("     - server   = work   . waits for a person   X killed", style="dim"))
        self._pause()

    def paste(self, client: str, where: str, text: str) -> None:
        """Something to copy: printed without wrapping, so that it can be."""
        self._console.print()
        self._console.print(f"[bold]{escape(client)}[/bold] [dim]{escape(where)}[/dim]", highlight=False)
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def end(self, text: str) -> None:
        """The last line."""
        self._console.print()
        self._line("", Text(text, style="bold green"))

    def failure(self, text: str) -> None:
        """Why it stopped."""
        self._console.print()
        self._console.print(Text(text, style="bold red"))

    def _line(self, mark: str, text: Text) -> None:
        head = Text(f"{self.seconds:6.2f} s  ", style="dim")
        head.append(mark, style="bold")
        indent = len(head)
        lines = text.wrap(self._console, self._console.width - indent)
        for n, line in enumerate(lines):
            self._console.print(Text.assemble(head if n == 0 else " " * indent, line))

    def _under(self, text: str) -> None:
        for line in Text(text).wrap(self._console, self._console.width - INDENT):
            self._console.print(Text.assemble(" " * INDENT, line))

    def _pause(self) -> None:
        time.sleep(self._pause_s)


def _short(value: Any) -> str:
    if isinstance(value, str) and "\n" in value:
        return f"<{len(value.splitlines())} lines>"
    return _dump(value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
