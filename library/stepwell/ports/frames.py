"""The messages between a run's host and its guest: one JSON object each, tagged by `t`.

Values of the workflow travel in the typed codec of `stepwell.sdk.codec` and stay encoded on the host
(`Raw`), which never builds the guest's types. Keys, labels and digests are explained in `docs/architecture.md`.
"""

from typing import Any, Literal

from msgspec import Raw, Struct

PROTOCOL = 1

CallKind = Literal["tool", "child", "start", "query", "act", "timer", "input", "approval", "event", "state", "agent"]
Mode = Literal["run", "check", "undo"]
"""What a guest is for: to go on with its run; to replay what is recorded and say how far it agrees, without doing
anything; or to replay it and then undo what was done."""


class Failure(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An exception of the workflow, with what is needed to raise an equal one on replay."""

    type: str
    message: str
    code: str = "workflow_error"
    step: str | None = None
    attempt: int | None = None
    line: int | None = None
    cause: list[str] = []
    traceback: str = ""
    payload: Any = None
    """Codec form of the exception's arguments, opaque to the host."""
    key: str | None = None
    """The entry of the journal whose failure it is; None if the workflow's own code raised it."""


# -- from the guest ------------------------------------------------------------------------------------------


class Ready(Struct, tag_field="t", tag="ready", forbid_unknown_fields=True):
    """The process is confined and waits for `Start`."""

    protocol: int


class Call(Struct, tag_field="t", tag="call", forbid_unknown_fields=True, omit_defaults=True):
    """Ask the host for something; answered by one `Outcome` of the same `id`."""

    id: int
    key: str
    kind: CallKind
    name: str
    args: Raw
    """Codec form of `{"args": [...], "kwargs": {...}}`; for the built-in kinds only kwargs."""
    step: str = ""
    """The step whose attempt makes the call, else empty."""
    line: int = 0
    delay_s: float = 0.0
    """For a timer that is a deadline: seconds from now. Not part of the arguments: it differs on a replay."""
    mark: int = 0
    """Where it is not 0: before this call the outcome of `marked` was the `mark`-th delivered, as in `Mark`."""
    marked: str = ""

    def label(self, digest: str) -> str:
        """Return what is called, as it is compared on a replay; `digest` is of the arguments."""
        return f"{self.kind}:{self.name}:{digest}"


class Step(Struct, tag_field="t", tag="step", forbid_unknown_fields=True, omit_defaults=True):
    """Record one finished attempt of a step that the guest ran itself."""

    key: str
    name: str
    attempt: int
    status: Literal["ok", "error"]
    final: bool
    """False: an attempt that failed and is tried again."""
    started: float
    finished: float
    digest: str = ""
    value: Raw = Raw(b"")
    """Empty where there is none; `Raw | None` would decode to None only."""
    error: Failure | None = None
    mark: int = 0
    """Where it is delivered at once: its place in the order of deliveries, as in `Mark`."""
    ack: int = 0
    """Where its result must be on disk before the workflow goes on: the id of an empty `Outcome` that says so."""
    undo: bool = False
    """Whether the step can be undone."""


class Drop(Struct, tag_field="t", tag="drop", forbid_unknown_fields=True):
    """Nobody waits any more for the outcome of a call: its branch was cancelled, or its deadline is met."""

    id: int
    """Of the call; 0 where the journal has answered it."""
    key: str


class Fired(Struct, tag_field="t", tag="fired", forbid_unknown_fields=True):
    """A deadline of the body (`asyncio.timeout`, `wait_for`) has passed, as its `mark`-th delivery. Not answered."""

    key: str
    at: float
    mark: int


class Compiled(Struct, tag_field="t", tag="compiled", forbid_unknown_fields=True):
    """What the source was compiled to, if `Start.tells_code`: the first frame, sent before any of it runs.

    The host keeps it unread for later processes of the same version.
    """

    code: str


class Mark(Struct, tag_field="t", tag="mark", forbid_unknown_fields=True):
    """The outcome of `key` was the `n`-th delivered to the workflow's body."""

    n: int
    key: str


class Readings(Struct, tag_field="t", tag="readings", forbid_unknown_fields=True):
    """What an attempt of a step has read of the real world, sent before what may depend on it. Not answered."""

    key: str
    """Under the attempt's path: `!seed`, `!readings1`, `!readings2`, ..."""
    seed: str
    """Of the attempt's numbers, 64 hexadecimal digits; empty in the other frames."""
    times: list[int]
    """Readings of the time of day, microseconds since 1970."""


class Log(Struct, tag_field="t", tag="log", forbid_unknown_fields=True, omit_defaults=True):
    """A line of output."""

    level: Literal["debug", "info", "warning", "error", "critical", "stdout", "stderr"]
    text: str
    at: float
    step: str = ""
    """The step whose attempt printed it, else empty."""


class Note(Struct, tag_field="t", tag="note", forbid_unknown_fields=True, omit_defaults=True):
    """Something for the timeline: of steps, nodes and progress. Lost in a crash at worst."""

    type: Literal[
        "step.started", "progress",
        "node.started", "node.completed", "node.failed", "node.skipped", "node.iteration",
    ]  # fmt: skip
    name: str = ""
    attempt: int = 0
    """Of a step; the number of the pass of a loop."""
    message: str = ""
    """Of progress; what kind of node it is."""
    depth: int = 0
    """How many nodes it is inside of."""
    done: float | None = None
    total: float | None = None


class Idle(Struct, tag_field="t", tag="idle", forbid_unknown_fields=True):
    """Nothing runs in the guest: it waits for the outcomes of the calls it made."""

    calls: int
    """How many calls it has seen answered so far, so that a late `Idle` is recognised."""


class Done(Struct, tag_field="t", tag="done", forbid_unknown_fields=True):
    """The entry returned."""

    value: Raw


class Failed(Struct, tag_field="t", tag="failed", forbid_unknown_fields=True):
    """The entry raised."""

    error: Failure


class Terminated(Struct, tag_field="t", tag="terminated", forbid_unknown_fields=True):
    """The workflow ended itself early, which is a success with a reason."""

    reason: str


class Diverged(Struct, tag_field="t", tag="diverged", forbid_unknown_fields=True, omit_defaults=True):
    """On replay the workflow left its journal."""

    key: str
    recorded: str
    found: str
    line: int = 0


class Reached(Struct, tag_field="t", tag="reached", forbid_unknown_fields=True):
    """How far a check has come, sent before its last frame."""

    delivered: int
    """How many of the recorded deliveries were made."""
    asked: list[str]
    """Keys of the calls and steps that were asked for, without those whose outcome was delivered."""


class Rested(Struct, tag_field="t", tag="rested", forbid_unknown_fields=True, omit_defaults=True):
    """All that is recorded was replayed; the workflow is not at its end and would go on from here."""

    key: str = ""
    """Of the first call or step that is not recorded; empty if it waits for recorded ones only."""
    found: str = ""
    line: int = 0


class Undone(Struct, tag_field="t", tag="undone", forbid_unknown_fields=True):
    """What the run has done is undone, but for so many steps whose undo functions failed."""

    failed: int


Last = Done | Failed | Terminated | Diverged | Rested | Undone
GuestFrame = Ready | Compiled | Call | Drop | Step | Fired | Mark | Readings | Log | Note | Idle | Reached | Last


# -- from the host -------------------------------------------------------------------------------------------


class Start(Struct, tag_field="t", tag="start"):
    """The first frame to a ready guest."""

    run_id: str
    workflow: str
    source: str
    entry: str
    entry_kind: str
    inputs: Raw
    seed: str
    created_at: float
    attempt: int
    """How often the run has been taken up, 1 the first time."""
    session_id: str | None = None
    user_id: str | None = None
    context_parameters: list[str] = []
    durability: Literal["group", "step"] = "group"
    """Whether the guest waits for each step's result to be on disk."""
    mode: Mode = "run"
    threads: int = 64
    """How many the workflow may start. The kernel counts the tasks of others too, so its limit is a rough one."""
    code: str = ""
    """What another process has compiled the source to; empty if that is not known."""
    tells_code: bool = False
    """Whether the guest shall send `Compiled`."""


class Recorded(Struct, omit_defaults=True):
    """One entry of the journal, for replay."""

    key: str
    label: str
    status: Literal["open", "ok", "error", "retry"]
    """`open`: a call that was sent and has no outcome; `retry`: a failed attempt that was tried again."""
    at: float
    """Unix seconds of the outcome."""
    mark: int = 0
    """Position in the order of deliveries, 0 if not delivered."""
    attempt: int = 0
    value: Raw | None = None
    error: Failure | None = None
    started: float = 0.0
    """Unix seconds at which a step's attempt began."""


class Replay(Struct, tag_field="t", tag="replay"):
    """A chunk of the journal; the last one has `more` false and lets the guest begin."""

    entries: list[Recorded]
    more: bool


class Outcome(Struct, tag_field="t", tag="outcome", omit_defaults=True):
    """The answer to a `Call`."""

    id: int
    at: float
    value: Raw | None = None
    error: Failure | None = None


HostFrame = Start | Replay | Outcome
