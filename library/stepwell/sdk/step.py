"""One step: a piece of the author's own work that runs once, is recorded, and is not run again."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.classes import find_class
from stepwell.sdk.exceptions import ApprovalDenied, mark_step
from stepwell.sdk.function_context import FunctionContext, wants_context
from stepwell.sdk.handles import HostFunction
from stepwell.sdk.options import StepOptions
from stepwell.sdk.runtime import Deferred, StepReport, drive, runtime
from stepwell.sdk.scope import Scope, check_name, check_place, depth_of, enter_scope, leave_scope

NO_WORK: Any = object()
DESCRIBED: dict[Any, Callable[..., Deferred]] = {}
"""Methods whose call belongs to the code that makes a step of it, not to the step's attempts; and what describes it."""


class Step(Deferred):
    """Awaitable, callable with its work, and a context manager around the work."""

    def __init__(
        self,
        name: str,
        work: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: StepOptions,
        line: int,
        *,
        key: str | None = None,
    ) -> None:
        check_undo(options, name)
        check_name(name)
        self._scope = runtime().scope()
        place = self._scope.claim(options.key) if options.key else self._scope.key(name) if key is None else key
        check_place(place)
        self._take(work, args, kwargs)
        super().__init__(f"the step {name!r}", line, self._run, place)
        self.name = name
        self.span = (0.0, 0.0)
        """When its first attempt began and its result came, in unix seconds; the same on a replay."""
        self.value: Any = None
        """In `with` form: what the step's result shall be."""
        self.told: Callable[[Step, Any], None] | None = None
        """Called with the result, restored or new."""
        self._options = options
        self._is_last = True
        self._check_repeatable()

    def __call__(self, work: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Give the work: a call, a function with arguments, or a plain value."""
        if self._work is not NO_WORK:
            raise TypeError(f"step {self.name!r} has its work already")
        self._take(work, args, kwargs)
        self._check_repeatable()
        return self.finish() if runtime().blocking() else self

    def _take(self, work: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        describe = DESCRIBED.get(work.__func__) if inspect.ismethod(work) else None
        if describe is not None:
            work, args, kwargs = describe(work.__self__, *args, **kwargs), (), {}
        self._work, self._args, self._kwargs = work, codec.settled(args), codec.settled(kwargs)
        self._digest = _digest(self._args, self._kwargs)

    def _check_repeatable(self) -> None:
        once = inspect.iscoroutine(self._work) or (isinstance(self._work, Deferred) and not self._work.restartable)
        if self._options.max_attempts > 1 and once:
            drop(self._work)
            self.discard()
            raise TypeError(
                f"step {self.name!r}: a call that was made already runs once; with retries pass the function and its "
                "arguments: ctx.step(fn, arg, retries=2)"
            )

    def finish(self) -> Any:
        """Run it to its end, blocking."""
        return drive(self.start())

    # -- as a context manager: the block is the work; it runs on replay too, its calls are answered ------------

    async def __aenter__(self) -> "Step":
        self.discard()
        # The block runs again on every replay, and so does its gate: an ordered call of the body.
        await self._approve(self.value, ordered=self._scope.ordered)
        self._block_scope = Scope(f"{self.key}@1/", self._scope.ordered, self.name, 1, origin=self._scope.inner_origin)
        self._token = enter_scope(self._block_scope)
        self._began = runtime().now()
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        leave_scope(self._token)
        if error is not None:
            mark_step(error, self.name, 1)
            return
        self.value = await _without_frames(self._keep_value())

    async def _keep_value(self) -> Any:
        rt = runtime()
        if rt.has_result(self.key, self.name, ""):
            return await rt.restore(self.key, self._options)
        if rt.rehearsing:
            await rt.hold(self.key, self.name)
        report = self._report(1)
        report.started, report.finished, report.value, report.digest = self._began, rt.now(), self.value, ""
        return await rt.record(report)

    def __enter__(self) -> "Step":
        return drive(self.__aenter__())

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        drive(self.__aexit__(kind, error, trace))

    # -- as work -------------------------------------------------------------------------------------------------

    @property
    def works(self) -> bool:
        """Whether something is done for its result, which is no value that was there already."""
        return callable(self._work) or isinstance(self._work, Awaitable)

    async def _run(self) -> Any:
        value = await _without_frames(self._result())
        if isinstance(self._work, Deferred):
            self._work.ended(value)
        if self.told is not None:
            self.told(self, value)
        return value

    async def _result(self) -> Any:
        rt = runtime()
        if self._work is NO_WORK:
            raise TypeError(f"step {self.name!r} has no work: write ctx.step({self.name!r}, function, ...)")
        if rt.has_result(self.key, self.name, self._digest):
            drop(self._work)
            self.span = rt.span(self.key) or self.span
            return await rt.restore(self.key, self._options)
        if rt.rehearsing:
            await rt.hold(self.key, self.name)
        # The gate and the delays between attempts are unordered: once the step has its result, a replay skips them.
        try:
            await self._approve(self._shown(), ordered=False)
        except ApprovalDenied as error:
            attempt = rt.find_attempts(self.key)[0] + 1
            await self._turn_to_begin(attempt)
            mark_step(error, self.name, attempt)
            report = self._report(attempt)
            report.started = report.finished = rt.now()
            report.error = error
            self.span = (report.started, report.started)
            return await rt.record(report)
        attempt, counting = rt.find_attempts(self.key)
        earlier = rt.span(self.key)
        while True:
            delay = self._options.delay(counting) if counting else 0
            if delay > 0:
                key = f"{self.key}!retry{attempt}"
                await rt.call("timer", self.name, [], {"seconds": delay}, key, ordered=False)
            attempt += 1
            counting += 1
            await self._turn_to_begin(attempt)
            report = await self._attempt(attempt, last=counting >= self._options.max_attempts)
            earlier = earlier or (report.started, report.finished)
            if report.final:
                self.span = (earlier[0], report.finished)
                return await rt.record(report)
            await rt.record(report)

    async def _approve(self, shown: Any, *, ordered: bool) -> None:
        if self._options.requires_approval:
            ask = {"prompt": f"Approve step {self.name!r}?", "context": shown}
            await runtime().call("approval", self.name, [], ask, f"{self.key}!approval", ordered=ordered)

    async def _turn_to_begin(self, attempt: int) -> None:
        if isinstance(self._work, asyncio.Future):
            return  # it runs already, and is cancelled with the step that awaits it
        try:
            await runtime().turn_to_begin(f"{self.key}@{attempt}/")
        except BaseException:
            drop(self._work)
            raise

    async def _attempt(self, attempt: int, *, last: bool) -> StepReport:
        rt = runtime()
        self._is_last = last
        report = self._report(attempt)
        scope = Scope(f"{self.key}@{attempt}/", False, self.name, attempt, origin=self._scope.inner_origin)
        token = enter_scope(scope)
        report.started = rt.now()
        rt.note("step.started", name=self.name, attempt=attempt, depth=depth_of(self.key) or None)
        try:
            report.value = await self._work_once(scope)
        except Exception as error:  # noqa: BLE001  the author's code: recorded, then raised to the author
            mark_step(error, self.name, attempt)
            report.error = error
            report.final = last or not self._options.retries_on(error)
        finally:
            report.finished = rt.now()
            scope.closed = True
            leave_scope(token)
        return report

    def _report(self, attempt: int) -> StepReport:
        return StepReport(self.key, self.name, attempt, True, 0.0, 0.0, self._digest, options=self._options)

    async def _work_once(self, scope: Scope) -> Any:
        work, timeout = self._work, self._options.timeout
        try:
            return await self._perform(work, timeout)
        except asyncio.CancelledError:
            raise
        except TimeoutError as error:
            if timeout is not None and not error.args:
                raise TimeoutError(f"step {self.name!r} took longer than {timeout:g} s") from None
            raise
        finally:
            scope.closed = True

    async def _perform(self, work: Any, timeout: float | None) -> Any:
        rt = runtime()
        if isinstance(work, HostFunction):
            return await _limited(work.start(*self._args, **self._kwargs), timeout)
        if isinstance(work, Deferred) and work.restartable:
            work = work.anew()
        value = work
        if callable(work):
            call = functools.partial(work, *self._inputs(work), **_copied(self._kwargs))
            value = call() if is_async(work) else await rt.run_sync(call, timeout)
        if inspect.isawaitable(value):
            value = await rt.run_async(value, timeout)
        if isinstance(value, AsyncIterator):
            raise TypeError(f"step {self.name!r} gave an async generator; collect its items and return a list")
        # A generator runs here, in its attempt: later its calls would belong to the body.
        return codec.settled(value)

    def _inputs(self, work: Callable[..., Any]) -> tuple[Any, ...]:
        args = _copied(self._args)
        if not wants_context(work) or (args and hasattr(args[0], "run_id")):
            return args
        scope = runtime().scope()
        key = f"{runtime().info.run_id}:{self.key}:{self._digest}"
        known = FunctionContext(runtime().info.run_id, scope.attempt - 1, key, self.name, self._options, self._is_last)
        return (known, *args)

    def _shown(self) -> Any:
        if callable(self._work):
            shown: dict[str, Any] = {"function": self.name}
            if self._args:
                shown["args"] = list(self._args)
            return shown | self._kwargs
        return None if isinstance(self._work, Awaitable) else self._work


def check_undo(options: StepOptions, name: str) -> None:
    """Raise TypeError if a step could not be undone, since it is inside of another one."""
    if options.undo is not None and not runtime().scope().ordered:
        raise TypeError(f"step {name!r}: undo= is for steps of the workflow's body; give it to the outer step")


def function_options(work: Any, given: StepOptions, names: frozenset[str]) -> StepOptions:
    """Return the options of a call: those given, else those of the work's `@function`."""
    declared: StepOptions | None = getattr(work, "__stepwell_options__", None)
    if declared is None:
        return given
    return replace(declared, **{name: getattr(given, name) for name in names})


def step_name(work: Any) -> str:
    """Return the name of a step from its work."""
    while isinstance(work, functools.partial):
        work = work.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    named: Any = work
    name = str(getattr(named, "__stepwell_name__", None) or getattr(named, "__name__", "") or named.__class__.__name__)
    if isinstance(work, HostFunction):
        return work.name
    return "lambda" if name == "<lambda>" else name


async def _without_frames(work: Coroutine[Any, Any, Any]) -> Any:
    """Await the result of a step; an error keeps no frames of how it was come by.

    They are others when the result is restored, and a workflow that keeps a traceback would leave its journal.
    """
    try:
        return await work
    except Exception as error:  # noqa: BLE001  the author's, and it goes on
        raise error.with_traceback(None)  # noqa: B904  the same one


async def _limited(work: Coroutine[Any, Any, Any], timeout: float | None) -> Any:
    if timeout is None or runtime().blocking():
        return await work
    async with asyncio.timeout(timeout):
        return await work


def is_async(work: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    while isinstance(work, functools.partial):
        work = work.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return inspect.iscoroutinefunction(work) or inspect.iscoroutinefunction(type(work).__call__)


def drop(work: Any) -> None:
    """Forget a call that was made and is not needed; anything else is left alone."""
    if inspect.iscoroutine(work):
        work.close()
        runtime().dropped()
    elif isinstance(work, Deferred):
        work.discard()
        runtime().dropped()


def _copied(value: Any) -> Any:
    # A step's inputs are copies, so that what it does to them is the same on a replay: nothing.
    try:
        return codec.decode(codec.encode(value), find_class)
    except codec.CodecError:
        return value


def _digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    if not args and not kwargs:
        return ""
    try:
        return codec.digest(codec.encode([list(args), kwargs]))
    except codec.CodecError:
        return ""
