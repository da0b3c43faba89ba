"""`ctx`: what a workflow can ask for by name."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from stepwell.sdk import combining
from stepwell.sdk.agents import make_agent
from stepwell.sdk.batch import read_plan, run_batch, run_map, step_options
from stepwell.sdk.function_context import FieldLogger
from stepwell.sdk.handles import WORKFLOW_FILE, HostFunction, caller_line
from stepwell.sdk.options import MAX_SECONDS, NAMES
from stepwell.sdk.runtime import Deferred, operate, runtime
from stepwell.sdk.state import Owner, State
from stepwell.sdk.step import NO_WORK, Step, step_name

INPUT_TYPES = ("text", "approval", "select", "multiselect")
INPUT_ALIASES = {"selection": "select", "choice": "multiselect"}


class WorkflowContext:
    """The one context of a run. In `def` code its methods block and return; in `async def` they are awaited."""

    @property
    def run_id(self) -> str:
        """The run's id."""
        return runtime().info.run_id

    @property
    def session_id(self) -> str | None:
        """The session given at the start."""
        return runtime().info.session_id

    @property
    def user_id(self) -> str | None:
        """The user given at the start."""
        return runtime().info.user_id

    @property
    def state(self) -> State:
        """Values of this run; forgotten when it has completed."""
        return State("run")

    @property
    def session(self) -> Owner:
        """The session, with its `state`; a run that was started without a session is one of its own."""
        return Owner("session", self.session_id or self.run_id)

    @property
    def user(self) -> Owner | None:
        """The user, with its `state`; None if the run was started without one."""
        return None if self.user_id is None else Owner("user", self.user_id)

    @property
    def attempt(self) -> int:
        """How often a process has taken the run up, 1 the first time."""
        return runtime().info.attempt

    @property
    def is_replay(self) -> bool:
        """Whether recorded results are still being restored."""
        return runtime().replaying

    _is_replay = is_replay  # its name on AGNT5's pages

    @property
    def logger(self) -> FieldLogger:
        """A logger whose lines become logs of the run: `ctx.logger.info("paid", order=7)`."""
        return FieldLogger(logging.getLogger(runtime().info.workflow))

    def step(self, first: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run work once and record its result.

        Forms: `step(fn, *args)`, `step("name", fn_or_value, *args)`, `step("name")(fn_or_value)`,
        `async with step("name") as s: s.value = ...`. Options are the keyword arguments named in `options.NAMES`.
        """
        given = {name: kwargs.pop(name) for name in list(kwargs) if name in NAMES}
        name, work, rest = _parse(first, args)
        options = step_options(work, given)
        step = Step(name, work, rest, kwargs, options, caller_line(WORKFLOW_FILE))
        if work is NO_WORK or not runtime().blocking():
            return step
        return step.finish()

    def parallel(self, *branches: Any) -> Any:
        """Run awaitables and callables (each a step) beside each other; results in the order given."""
        made = [_branch(branch) for branch in branches]

        async def all_of() -> list[Any]:
            return await runtime().run_async(_gather(made), None)

        return operate("ctx.parallel(...)", caller_line(WORKFLOW_FILE), all_of)

    def gather(self, **branches: Any) -> Any:
        """Like `parallel`, with results by name."""
        made = [_branch(branch) for branch in branches.values()]

        async def all_of() -> dict[str, Any]:
            return dict(zip(branches, await runtime().run_async(_gather(made), None), strict=True))

        return operate("ctx.gather(...)", caller_line(WORKFLOW_FILE), all_of)

    def batch(self, fn: Callable[..., Any], items: Iterable[Any], **options: Any) -> Any:
        """Run `fn` once for each item, each a step, and return a `BatchResult`: counts, outputs, failures.

        A dict is the keyword arguments, anything else the one argument. Beside the step options: `max_concurrency`
        (10 at once), `continue_on_failure` (True; False stops at the first), `timeout_per_item` (seconds of an
        attempt), `name`. A rejection by a person is raised, and stops the batch.
        """
        plan, key = read_plan(fn, items, options)
        return operate(f"ctx.batch({plan.name})", plan.line, lambda: run_batch(plan, key))

    def map(self, fn: Callable[..., Any], items: Iterable[Any], **options: Any) -> Any:
        """Like `batch`, with the outputs as result.

        Raises:
            BatchError: an item failed; it names each.
        """
        plan, key = read_plan(fn, items, options)
        return operate(f"ctx.map({plan.name})", plan.line, lambda: run_map(plan, key))

    agent = staticmethod(make_agent)
    fan_out = staticmethod(combining.fan_out)
    reduce = staticmethod(combining.reduce)
    branch = staticmethod(combining.branch)

    def sleep(self, seconds: float, *, name: str = "sleep") -> Any:
        """Wait; longer waits need no process and survive restarts."""
        given: Any = seconds
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= seconds <= MAX_SECONDS:
            raise ValueError(f"ctx.sleep takes seconds from 0 to a hundred years, not {seconds!r}")
        return self._ask("timer", name, {"seconds": float(seconds)})

    def sleep_until(self, when: datetime, *, name: str = "sleep") -> Any:
        """Wait until an aware datetime."""
        if when.tzinfo is None:
            raise ValueError("ctx.sleep_until takes an aware datetime, for example datetime(..., tzinfo=UTC)")
        return self._ask("timer", name, {"until": when.timestamp()})

    def wait_for_user(
        self,
        question: str,
        *,
        input_type: str = "text",
        options: list[dict[str, Any]] | None = None,
        allow_custom: bool = False,
        skippable: bool = False,
        timeout: float | None = None,
        name: str = "wait_for_user",
    ) -> Any:
        """Ask a person and return the answer: text, an option's id, or a list of ids; None if skipped."""
        input_type = INPUT_ALIASES.get(input_type, input_type)
        if input_type not in INPUT_TYPES:
            raise ValueError(f"input_type is one of {', '.join(INPUT_TYPES)}, not {input_type!r}")
        given: Any = options
        if given is not None and not isinstance(given, (list, tuple)):
            raise TypeError("options is a list of {'id': ..., 'label': ...}, or of texts")
        _check_timeout(timeout)
        if input_type in ("select", "multiselect") and not options:
            raise ValueError(f"input_type {input_type!r} needs options=[{{'id': ..., 'label': ...}}]")
        ask = {
            "prompt": question, "input_type": input_type, "options": list(options or []), "allow_custom": allow_custom,
            "skippable": skippable, "timeout": timeout,
        }  # fmt: skip
        return self._ask("input", name, ask)

    def wait_for_event(self, event: str, *, timeout: float | None = None) -> Any:
        """Wait for an event of that name, sent to this run or to all, and return its payload."""
        _check_timeout(timeout)
        return self._ask("event", event, {"timeout": timeout})

    def approve(self, prompt: str, context: Any = None, *, timeout: float | None = None, name: str = "approve") -> Any:
        """Wait until a person approves.

        Raises:
            ApprovalDenied: rejected, or not answered within `timeout` seconds.
        """
        _check_timeout(timeout)
        return self._ask("approval", name, {"prompt": prompt, "context": context, "timeout": timeout})

    def invoke(self, workflow: str, /, **inputs: Any) -> Any:
        """Run another workflow; in async code this is awaited, so that several can run beside each other."""
        return self._host(HostFunction("child", workflow), inputs)

    def start(self, workflow: str, /, **inputs: Any) -> Any:
        """Start another workflow and return its run id."""
        return self._host(HostFunction("start", workflow), inputs)

    def emit(self, event: str, payload: Any = None, run_id: str | None = None) -> Any:
        """Send an event to all runs, or to one, and return its id. Runs that come to wait for it later get it too."""
        receiver = {} if run_id is None else {"run_id": run_id}
        return self._host(HostFunction("act", "events.emit"), {"name": event, "payload": payload} | receiver)

    def terminate(self, reason: str = "") -> Any:
        """End the run now, as a success with a reason. Does not return."""
        runtime().terminate(str(reason))

    def log(self, message: str, **fields: Any) -> None:
        """Write a line to the run's log."""
        print(message, *(f"{key}={value}" for key, value in fields.items()))  # noqa: T201  stdout is the log

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far the run is; shown to whoever waits for it."""
        whole = None if total is None else float(total)
        runtime().note("progress", done=float(done), total=whole, message=str(message))

    def budget(self) -> Any:
        """Return `{"limit_usd", "spent_usd", "remaining_usd"}` of the run; no limit and no rest are None."""
        return self._host(HostFunction("query", "run.budget"), {})

    def now(self) -> datetime:
        """Return the time, the same on replay: in the body that of the last delivery."""
        return datetime.fromtimestamp(runtime().read_clock(), UTC)

    def random(self) -> random.Random:
        """Return a generator that gives the same numbers on replay."""
        return random.Random(self._seed("random"))  # noqa: S311  not for secrets

    def uuid(self) -> UUID:
        """Return a UUID that is the same on replay."""
        return UUID(int=random.Random(self._seed("uuid")).getrandbits(128), version=4)  # noqa: S311

    def _seed(self, what: str) -> str:
        return runtime().derive(runtime().scope().key(what))

    def _ask(self, kind: str, name: str, payload: dict[str, Any]) -> Any:
        key = runtime().scope().key(name)
        line = caller_line(WORKFLOW_FILE)
        return operate(f"ctx: {name!r}", line, lambda: _answer(kind, name, payload, key), key)

    def _host(self, fn: HostFunction, inputs: dict[str, Any]) -> Any:
        key = runtime().scope().key(fn.name)
        line = caller_line(WORKFLOW_FILE)
        return operate(f"ctx: {fn.name!r}", line, lambda: _answer(fn.kind, fn.name, inputs, key), key)


def _check_timeout(timeout: Any) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout <= MAX_SECONDS:
        raise TypeError(f"timeout is a number of seconds from 0 to a hundred years, not {timeout!r}")


async def _answer(kind: str, name: str, payload: dict[str, Any], key: str) -> Any:
    return await runtime().call(kind, name, [], payload, key)


def _parse(first: Any, args: tuple[Any, ...]) -> tuple[str, Any, tuple[Any, ...]]:
    if not isinstance(first, str):
        return step_name(first), first, args
    return (first, args[0], args[1:]) if args else (first, NO_WORK, ())


def _branch(branch: Any) -> Any:
    """Return what a branch of `parallel` waits for. Callables become steps: they may run in threads."""
    if isinstance(branch, Deferred) or hasattr(branch, "__await__"):
        return branch
    if callable(branch):
        return Step(step_name(branch), branch, (), {}, step_options(branch, {}), caller_line(WORKFLOW_FILE))
    if runtime().blocking():
        return branch  # in `def` code a call gives its value at once
    raise TypeError(
        f"ctx.parallel got a {type(branch).__name__}, not something to await; "
        "write ctx.step(tools.x, ...) instead of tools.x(...), which has already run"
    )


async def _gather(branches: list[Any]) -> list[Any]:
    waiting = [n for n, branch in enumerate(branches) if hasattr(branch, "__await__")]
    results = await asyncio.gather(*(branches[n] for n in waiting))
    values = list(branches)
    for n, result in zip(waiting, results, strict=True):
        values[n] = result
    return values


ctx = WorkflowContext()
