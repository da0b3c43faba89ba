"""Replaying what is recorded without going on: to see how far a source agrees, or to undo what a run has done."""

import _thread
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.function_context import takes_argument
from stepwell.sdk.options import StepOptions
from stepwell.sdk.scope import Scope, enter_scope
from stepwell.sdk.step import Step, find_class
from stepwell_sandbox.guest import real

COMPUTING_S = 3.0  # a body that computes for longer than this behind the last recorded outcome is stopped


@dataclass(frozen=True, slots=True)
class Undo:
    """How to undo one step that has completed."""

    key: str
    name: str
    at: float
    """When it completed, in unix seconds."""
    value: Any
    """Its result, encoded."""
    options: StepOptions


async def undo_all(undos: Iterable[Undo]) -> int:
    """Undo steps, the newest first, each as a step of its own; return how many could not be undone."""
    failed = 0
    for undo in sorted(undos, key=lambda item: item.at, reverse=True):
        # Unordered: what is recorded of it must not stand in the way of replaying the body once more.
        enter_scope(Scope(f"{undo.key}!undo/", ordered=False))
        options = replace(undo.options, key="undo", requires_approval=False, undo=None)
        work: Any = undo.options.undo
        given = (codec.decode(undo.value, find_class),) if takes_argument(work) else ()
        try:
            await Step(f"undo {undo.name}"[:200], work, given, {}, options, 0)
        except Exception:  # noqa: BLE001  the author's code; it is in the journal, and the others must be undone all the same
            failed += 1
    return failed


def interrupt_computing(computes: Callable[[], bool], rests: Callable[[], bool], stop: Callable[[], object]) -> None:
    """Call `stop` in the main thread when the body has all that is recorded and computes on for `COMPUTING_S`."""
    signal.signal(signal.SIGINT, lambda *_: stop() if computes() else None)

    def watch() -> None:
        seen = 0
        while not rests() and seen < 2:
            real.module.sleep(COMPUTING_S)
            seen = seen + 1 if computes() else 0
        if seen:
            _thread.interrupt_main()

    threading.Thread(target=watch, daemon=True).start()
