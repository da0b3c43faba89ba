"""What a run needs from the process that executes it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stepwell.engine.compiled import Codes
from stepwell.engine.live import Signals
from stepwell.engine.memory import Memory
from stepwell.engine.recorder import Recorder
from stepwell.engine.throttle import Throttle
from stepwell.model import Json, JsonObject
from stepwell.model.durability import Durability
from stepwell.ports import Limits, Models, Packages, Sandbox, ToolHost, WorkflowSource
from stepwell.ports.limits import ArtifactLimits
from stepwell.store.database import Database
from stepwell.store.runs import RunRow


class HostFunctions(Protocol):
    """The catalogue's functions that workflows may call, by dotted name."""

    async def query(self, name: str, kwargs: JsonObject) -> Json:
        """Answer a function without effects: `workflows.list`, `tools.search`, ..."""
        ...

    async def act(self, name: str, kwargs: JsonObject, run_id: str, idempotency_key: str) -> Json:
        """Do something that may be done again with the same result: `workflows.create`, `events.emit`, ...

        The key stands for run, call and arguments; it is the same on every repetition.
        """
        ...


class RunControl(Protocol):
    """What one run may ask for other runs and for itself."""

    async def start_child(
        self,
        parent: RunRow,
        key: str,
        name: str,
        args: list[Any],
        kwargs: JsonObject,
        *,
        detached: bool,
        again: bool,
        cuts: int,
    ) -> str:
        """Start a workflow and return its run id; the same (parent, key, cuts) gives the same run.

        With `again` a run that failed before goes on from its journal: its parent asks anew.
        """
        ...

    def kick(self) -> None:
        """Look for runs that can be taken up, now."""
        ...

    def yield_slot(self, run_id: str) -> None:
        """The run only waits for its children: they may use its slot."""
        ...

    def take_slot(self, run_id: str) -> None:
        """The run works again."""
        ...

    def is_crowded(self) -> bool:
        """Whether runs wait for memory that those which wait for them could give back."""
        ...


@dataclass(slots=True)
class Services:
    """Shared by all runs of one process."""

    database: Database
    recorder: Recorder
    sandbox: Sandbox
    workflows: WorkflowSource
    tools: ToolHost
    functions: HostFunctions
    packages: Packages
    models: Models
    limits: Limits
    artifacts: ArtifactLimits
    worker: str
    locks: Path
    orders: Signals
    """News that a run's holder must act on: decisions, cancels, ends and pauses of children."""
    news: Signals
    """News for those who watch a run: its end, its pause, a decision."""
    commits: Signals
    """Something of a run was written, of which its timeline may tell."""
    memory: Memory
    throttle: Throttle
    durability: Durability
    """Of all runs; a module may ask for more."""
    codes: Codes = field(default_factory=Codes)
    runs: RunControl = field(init=False)
    """Set once, when all parts are there."""
