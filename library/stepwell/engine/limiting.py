"""The limits of one run: who has set them, and what is said when one is crossed."""

import math
import re
from dataclasses import dataclass, replace

from stepwell.errors import LimitExceeded, RunError
from stepwell.model import ErrorInfo, Version
from stepwell.ports import Limits
from stepwell.ports.limits import MOST, declared_limits, show_limit

FREE_CPU_S = 0.25
"""Of each process of a run: about what its start and the replay of a short journal take."""

_IN_PARTS = "Pass it on in parts, or save it with artifacts.save() and pass the name."
ADVICE = {
    "memory_bytes": "Work on less data at a time: read and drop it in parts.",
    "cpu_s": "Make it cheaper, or split it into workflows that it invokes: each has limits of its own.",
    "wall_s": "Only work counts, no waits for people, timers, events or children. Split it into workflows that it "
    "invokes: each has limits of its own.",
    "threads": "Use fewer threads, or ctx.batch(..., max_concurrency=8).",
    "open_files": "Close files when they are done with: `with open(...)`.",
    "file_bytes": "Write smaller files, or keep parts as artifacts.",
    "scratch_bytes": "Delete files that are done with; it holds at most 4096 of them. What shall last is an artifact.",
    "frame_bytes": _IN_PARTS,
    "total_bytes": "Pass smaller values to steps and tools, and log less.",
    "pending_calls": "Wait for some of them before making more: ctx.batch(..., max_concurrency=20).",
    "journal_entries": "Split the work into child workflows (workflows.invoke), each with a journal of its own.",
    "journal_bytes": "Split the work into child workflows (workflows.invoke), or keep large values as artifacts.",
}

# What the kernel's limits look like from inside. A workflow can raise the same by itself, which ends it as well.
_SIGNS = (
    (re.compile(r"MemoryError:"), "memory_bytes"),
    (re.compile(r"RuntimeError: can't start new thread"), "threads"),
    (re.compile(r"OSError: \[Errno 24\]"), "open_files"),
    (re.compile(r"OSError: \[Errno 27\]"), "file_bytes"),
    (re.compile(r"OSError: \[Errno 28\]"), "scratch_bytes"),
)


@dataclass(frozen=True, slots=True)
class RunLimits:
    """What a run may use."""

    values: Limits
    allowed: Limits
    """The operator's."""

    def error(self, name: str) -> LimitExceeded:
        """Return the error of a crossed limit."""
        return LimitExceeded(f"the run crossed its limit {self._shown(name)}", limit=name, hint=self.hint(name))

    def described(self, error: RunError) -> ErrorInfo:
        """Return an error as the run ends with it; where it is of a limit, with what can be done about that."""
        hint = self.hint(error.limit) if isinstance(error, LimitExceeded) else ""
        return ErrorInfo(type(error).__name__, error.message, error.code, hint=hint or error.hint)

    def named(self, error: ErrorInfo) -> ErrorInfo:
        """Return a workflow's failure; where it comes from a limit, with the limit's name and what to do."""
        text = f"{error.type}: {error.message}"
        name = next((name for sign, name in _SIGNS if sign.match(text)), None)
        if name is None:
            return error
        said = f"{error.message}: the run" if error.message else "The run"
        message = f"{said} reached its limit {self._shown(name)}"
        if name == "threads":
            message += f" or memory_bytes = {self.values.memory_bytes}: each takes 8 MiB of it for its stack"
        return replace(error, message=message, code=LimitExceeded.code, hint=self.hint(name))

    def hint(self, name: str) -> str:
        """Return what to do about a crossed limit, and who can raise it where; empty for no limit."""
        if name not in ADVICE:
            return ""
        if getattr(self.values, name) < getattr(self.allowed, name):
            where = f"limits=dict({name}=...)" + (" or timeout" if name == "wall_s" else "")
            most = show_limit(name, getattr(self.allowed, name))
            raised = f"The workflow's own options set it ({where}); this server allows {most}."
        elif getattr(self.values, name) >= MOST.get(name, math.inf):
            raised = "It cannot be raised."
        else:
            raised = f"The operator can raise {name} under [limits] in stepwell.toml; then resume the run."
        return f"{ADVICE[name]} {raised}"

    def for_process(self, used_cpu_s: float) -> Limits:
        """Return the limits of the run's next process.

        Raises:
            LimitExceeded: it has used all its CPU time.
        """
        left = self.values.cpu_s - used_cpu_s
        if left <= 0:
            raise self.error("cpu_s")
        return replace(self.values, cpu_s=math.ceil(left))

    def _shown(self, name: str) -> str:
        return f"{name} = {show_limit(name, getattr(self.values, name))}"


def run_limits(allowed: Limits, version: Version) -> RunLimits:
    """Return the limits of a run of that version, which may have lowered them and has no more than is allowed."""
    return RunLimits(allowed.lowered(declared_limits(version.options)), allowed)
