"""A run as the outside sees it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from stepwell.model.json import Json, JsonObject


class RunStatus(StrEnum):
    """Where a run stands. `LIVE` ones go on; the others are ends."""

    PENDING = "pending"
    RUNNING = "running"
    SLEEPING = "sleeping"
    WAITING = "waiting"
    IN_DOUBT = "in_doubt"
    COMPLETED = "completed"
    TERMINATED = "terminated"
    FAILED = "failed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    DEAD = "dead"


LIVE = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.WAITING, RunStatus.IN_DOUBT})

WaitKind = Literal["approval", "input", "event", "timer", "in_doubt", "child"]
Decision = Literal["approve", "reject", "answer", "retry", "value", "fail"]


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a run or a step failed, in the words of the workflow."""

    type: str
    message: str
    code: str = "workflow_error"
    step: str | None = None
    """The step in which it was raised, if any."""
    attempt: int | None = None
    """1-based attempt of that step."""
    line: int | None = None
    """1-based line of the workflow's source."""
    cause: tuple[str, ...] = ()
    """`Type: message` of `__cause__`, its cause, and so on."""
    traceback: str = ""
    """Lines of the workflow's own code, made harmless; at most 8 KiB."""
    hint: str = ""
    key: str | None = None
    """The entry of the journal whose failure it is; what a resumed run tries again."""

    def describe(self) -> dict[str, Any]:
        """Return the form shown at the borders; empty extras are left out."""
        shown: dict[str, Any] = {
            "type": self.type,
            "message": self.message,
            "step": self.step,
            "attempt": self.attempt,
            "code": self.code,
        }
        extras = {"line": self.line, "cause": list(self.cause), "hint": self.hint}
        return shown | {key: value for key, value in extras.items() if value}


@dataclass(frozen=True, slots=True)
class Wait:
    """What a run waits for."""

    run_id: str
    key: str
    """The call's key in the journal."""
    kind: WaitKind
    prompt: str = ""
    input_type: str = ""
    """For `input`: `text`, `approval`, `select` or `multiselect`."""
    options: tuple[JsonObject, ...] = ()
    """`{"id": ..., "label": ...}` each."""
    context: Json = None
    """What the person is shown: the value or the call to be approved."""
    digest: str = ""
    """Binds an approval to run, version, call and arguments."""
    until: float | None = None
    """Unix seconds at which it fires (timer) or expires."""
    name: str = ""
    """The step's, event's or child's name."""
    allow_custom: bool = False
    """For `select` and `multiselect`: free text is an answer too."""
    skippable: bool = False
    """For `input`: may be left unanswered; the workflow gets None."""
    person: bool = False
    """Only a person decides, by a form or at a terminal; the client's word does not count."""

    def describe(self) -> dict[str, Any]:
        """Return the form of `waiting_for` at the MCP border; the last three only where given."""
        permissions = {"allow_custom": self.allow_custom, "skippable": self.skippable, "person": self.person}
        return {
            "kind": self.kind,
            "key": self.key,
            "prompt": self.prompt,
            "input_type": self.input_type,
            "options": list(self.options),
            "context": self.context,
            "digest": self.digest,
            "until": self.until,
        } | {name: True for name, given in permissions.items() if given}


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of one version, with what its journal holds about its steps."""

    id: str
    workflow: str
    version: str
    status: RunStatus
    input: JsonObject
    created_at: float
    output: Json = None
    """JSON at the border; bytes are `{"artifact": ...}` references."""
    error: ErrorInfo | None = None
    step_results: JsonObject = field(default_factory=dict[str, Json])
    completed_steps: tuple[str, ...] = ()
    skipped_steps: tuple[str, ...] = ()
    """Steps that the newest attempt restored from the journal."""
    waiting_for: tuple[Wait, ...] = ()
    tokens_used: int = 0
    cost_usd: float | None = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    terminated: bool = False
    termination_reason: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    parent_id: str | None = None
    sandbox_level: str | None = None
    attempts: int = 0
    """How often a process has taken the run up."""
    failures: int = 0
    """Attempts that failed since it was started or last resumed by somebody."""
    from_run: str | None = None
    """The run that this one was started again from."""
    warnings: tuple[str, ...] = ()
    queued: str | None = None
    """What a pending run waits for, in words; None if it is about to begin."""
    last_logs: tuple[str, ...] = ()
    """The end of what a run printed that has failed."""

    @property
    def content(self) -> Json:
        """The output."""
        return self.output

    @property
    def session_state(self) -> JsonObject:
        """What a workflow of nodes has left in its session's state."""
        found = self.step_results.get("session_state")
        return found if isinstance(found, dict) else {}

    @property
    def step_outputs(self) -> JsonObject:
        """The results of the steps by name."""
        return self.step_results

    def get_step_output(self, name: str) -> Json:
        """Return the result of the step of that name, at any depth; None if there is none."""
        return self.step_results.get(name)
