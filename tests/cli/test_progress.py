"""A run's timeline as its display shows it."""

from typing import Any

import pytest

from stepwell.engine import Event
from stepwell_server.cli.progress import Progress, event_line


def events(*given: tuple[str, dict[str, Any]]) -> list[Event]:
    return [Event(n, 100.0 + n, kind, data) for n, (kind, data) in enumerate(given, start=1)]


def shown(*given: tuple[str, dict[str, Any]]) -> Progress:
    progress = Progress()
    for event in events(*given):
        progress.add(event)
    return progress


def test_attempts_and_executions_of_a_step_are_counted() -> None:
    first = {"step": "load", "attempt": 1}
    again = {"step": "load", "attempt": 2}

    failing = shown(("step.started", first), ("step.failed", first | {"error": "E: no", "final": False}))
    done = shown(
        ("step.started", first),
        ("step.failed", first | {"error": "E: no", "final": False}),
        ("step.started", again),
        ("step.completed", again | {"seconds": 2.0}),
        ("step.started", first),
    )

    assert (failing.steps["load"].retrying, failing.steps["load"].error) == (True, "E: no")
    load = done.steps["load"]
    assert (load.running, load.completed, load.failed, load.error, load.seconds) == (1, 1, 0, "", 2.0)


def test_a_run_taken_up_anew_has_nothing_under_way() -> None:
    progress = shown(
        ("step.started", {"step": "load", "attempt": 1}),
        ("call.started", {"call": "fetch", "key": "k"}),
        ("run.resumed", {}),
    )

    assert progress.steps["load"].running == 0
    assert progress.calls == {}
    assert progress.status == "running"


def test_waits_come_and_go() -> None:
    opened = ("wait.opened", {"kind": "approval", "key": "k", "prompt": "Go?"})

    timer = ("wait.opened", {"kind": "timer", "key": "t", "until": 200.0})

    assert shown(opened).open_waits(150.0) == ["Go?"]
    assert shown(opened, ("wait.decided", {"key": "k"})).open_waits(150.0) == []
    assert len(shown(timer).open_waits(150.0)) == 1
    assert shown(timer).open_waits(250.0) == []
    assert shown(opened, timer, ("run.completed", {})).open_waits(150.0) == []


@pytest.mark.parametrize(
    ("kind", "data", "line"),
    [
        ("step.completed", {"step": "a", "attempt": 2, "seconds": 0.5}, "step a completed in 0.5 s (attempt 2)"),
        (
            "step.failed",
            {"step": "a", "attempt": 1, "error": "E: x", "final": False},
            "step a failed: E: x; tries again",
        ),
        ("wait.opened", {"kind": "input", "prompt": "Name?"}, "waits: Name?"),
        ("progress", {"done": 3, "total": 10, "message": "pages"}, "3 of 10: pages"),
        ("call.failed", {"call": "fetch", "error": "E: {step}\x1b[2J"}, "fetch failed: E: {step}\\x1b[2J"),
        ("of.tomorrow", {}, ""),
    ],
)
def test_an_event_is_a_harmless_line(kind: str, data: dict[str, Any], line: str) -> None:
    assert event_line(Event(1, 0.0, kind, data)) == line
