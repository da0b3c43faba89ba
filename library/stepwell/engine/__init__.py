"""Durable runs: journal, replay, waits, leases."""

from stepwell.engine.engine import Engine, open_engine
from stepwell.engine.monitor import RunItem, RunPage, StepItem, WorkerItem
from stepwell.engine.pages import Emitted, Event, JournalEntry, LogLine, StartOptions
from stepwell.engine.rehearsal import Comparison, Difference
from stepwell.store.artifacts import Artifact
from stepwell.store.grants import Grant

__all__ = [
    "Artifact",
    "Comparison",
    "Difference",
    "Emitted",
    "Engine",
    "Event",
    "Grant",
    "JournalEntry",
    "LogLine",
    "RunItem",
    "RunPage",
    "StartOptions",
    "StepItem",
    "WorkerItem",
    "open_engine",
]
