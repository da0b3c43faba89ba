"""Durable runs: journal, replay, waits, leases."""

from stepwell.engine.engine import Engine
from stepwell.engine.monitor import RunItem, RunPage, StepItem, WorkerItem
from stepwell.engine.opening import open_engine
from stepwell.engine.pages import Emitted, Event, JournalEntry, LogLine, StartOptions
from stepwell.engine.rehearsal import Comparison, Difference
from stepwell.store.artifacts import Artifact
from stepwell.store.grants import Grant
from stepwell.store.spending import Spent

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
    "Spent",
    "StartOptions",
    "StepItem",
    "WorkerItem",
    "open_engine",
]
