"""One run, followed at the terminal until it ends or nobody here can make it go on."""

import asyncio
import time
from dataclasses import dataclass
from itertools import accumulate

import click

from stepwell.engine import Event
from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import LIVE, Run, RunStatus, Wait
from stepwell_server.app import App
from stepwell_server.cli.questions import PERSON, prompt_text, question_text, read_reply
from stepwell_server.cli.report import note
from stepwell_server.cli.terminal import LineReader
from stepwell_server.cli.text import block
from stepwell_server.cli.view import View

LOOK_S = 0.25  # how often the timeline is read, and looked whether there is a question
TIMER_S = 60.0  # how far away a timer may be for a run without a person before it
MAX_CHILDREN = 100  # runs looked at for a question
PAGE = 200  # events read at one time
_SETTLED = "\0"  # no terminal sends a NUL in a line


@dataclass(frozen=True, slots=True)
class _Open:
    """What a run and the children that it waits for wait for."""

    questions: tuple[tuple[Run, Wait], ...]
    timer: float | None
    """Unix seconds of the next timer."""
    works: bool
    """Whether one of them is being executed."""


@dataclass(frozen=True, slots=True)
class Foreground:
    """Follows runs and, where there is a terminal, asks their questions there."""

    app: App
    view: View
    reader: LineReader | None

    async def follow(self, run_id: str) -> Run:
        """Return the run when it has ended, or when it waits for what does not come from here."""
        left: set[tuple[str, str]] = set()
        seen = lines = 0
        while True:
            run = await self.app.engine.wait(run_id, LOOK_S)
            seen, lines = await self._show_news(run_id, seen, lines)
            if run.status not in LIVE:
                return run
            found = await self._look(run)
            asked = next((item for item in found.questions if (item[1].run_id, item[1].key) not in left), None)
            if asked is not None and self.reader is not None:
                if not await self._ask(*asked):
                    left.add((asked[1].run_id, asked[1].key))
            elif not self._goes_on(found):
                return run
            elif not found.works:
                await asyncio.sleep(LOOK_S)

    async def _show_news(self, run_id: str, seen: int, read: int) -> tuple[int, int]:
        """Show events and output in the order of their times; return the numbers of the last of each."""
        while True:
            events = await self.app.engine.timeline(run_id, after=seen, limit=PAGE)
            lines = await self.app.engine.logs(run_id, after=read, limit=PAGE)
            # Events keep their own order: the end of a short step is noted with an earlier time than its beginning.
            times = accumulate((event.at for event in events), max)
            dated = [*zip(times, events, strict=True), *((line.at, line) for line in lines)]
            for _, item in sorted(dated, key=lambda pair: pair[0]):
                if isinstance(item, Event):
                    self.view.show(item)
                else:
                    self.view.log(item)
            seen = events[-1].n if events else seen
            read = lines[-1].n if lines else read
            if len(events) < PAGE and len(lines) < PAGE:
                return seen, read

    def _goes_on(self, found: _Open) -> bool:
        if found.works:
            return True
        if found.timer is None or found.questions:
            return False
        return self.reader is not None or found.timer - time.time() <= TIMER_S

    async def _look(self, run: Run) -> _Open:
        questions: list[tuple[Run, Wait]] = []
        timers: list[float] = []
        works = False
        waiting = [run]
        seen = {run.id}
        while waiting and len(seen) <= MAX_CHILDREN:
            current = waiting.pop(0)
            works = works or current.status in (RunStatus.PENDING, RunStatus.RUNNING)
            for wait in current.waiting_for:
                if wait.kind in PERSON:
                    questions.append((current, wait))
                elif wait.kind == "timer" and wait.until is not None:
                    timers.append(wait.until)
                elif (child := _child_id(wait)) and child not in seen:
                    seen.add(child)
                    waiting.append(await self.app.engine.get(child))
        return _Open(tuple(questions), min(timers, default=None), works)

    async def _ask(self, run: Run, wait: Wait) -> bool:
        """Put one question; False if it was left open."""
        assert self.reader is not None
        self.view.pause()
        note(question_text(run, wait))
        self.reader.drop()
        while True:
            typed = await self._typed(wait)
            if typed is None:
                note("\nLeft open.")
                return False
            if typed == _SETTLED:
                note("\nSettled elsewhere.")
                return True
            try:
                decided = read_reply(wait, typed)
                await self.app.engine.decide(
                    wait.run_id,
                    decided.decision,
                    value=decided.value,
                    key=wait.key,
                    digest=wait.digest or None,
                    reason=decided.reason,
                    scope=decided.scope,
                    via="cli",
                )
            except InvalidArguments as error:
                note(block(f"{error.message} {error.hint}".strip()))
            except Conflict as error:
                note(block(error.message))
                return True
            else:
                return True

    async def _typed(self, wait: Wait) -> str | None:
        assert self.reader is not None
        _prompt(prompt_text(wait))
        while True:
            try:
                return await self.reader.line(LOOK_S)
            except TimeoutError:
                run = await self.app.engine.get(wait.run_id)
                if all(item.key != wait.key or item.digest != wait.digest for item in run.waiting_for):
                    return _SETTLED


def _prompt(text: str) -> None:
    """Print a prompt and leave the cursor behind it."""
    click.echo(text, err=True, nl=False)


def _child_id(wait: Wait) -> str | None:
    if wait.kind != "child" or not isinstance(wait.context, dict):
        return None
    found = wait.context.get("run_id")
    return found if isinstance(found, str) else None
