"""Durable runs: journal, replay, waits, leases."""

from stepwell.engine.engine import Engine, open_engine
from stepwell.engine.pages import Emitted, Event, JournalEntry, LogLine, RunPage, StartOptions
from stepwell.engine.rehearsal import Comparison, Difference
from stepwell.store.artifacts import Artifact

__all__ = [
    "Artifact",
    "Comparison",
    "Difference",
    "Emitted",
    "Engine",
    "Event",
    "JournalEntry",
    "LogLine",
    "RunPage",
    "StartOptions",
    "open_engine",
]
