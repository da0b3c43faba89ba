"""How a workflow has been used."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Runs of a workflow that ended, since it was stored; it outlives the runs."""

    completed: int = 0
    """Completed, or terminated by the workflow itself."""
    failed: int = 0
    """Failed or dead. A run that is resumed and completes counts as both."""
    success_rate: float | None = None
    """Of the newest 50, 0 to 1."""
    median_seconds: float | None = None
    """From start to end, of those among the newest 50 that completed."""
    last_run_at: float | None = None
    """Unix seconds."""
    last_error: str | None = None
    last_error_at: float | None = None
    """Unix seconds."""
    learned: tuple[str, ...] = ()
    """Requests whose search led to a run that completed, newest first."""
