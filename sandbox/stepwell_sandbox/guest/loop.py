"""The event loop of a workflow: it runs the body until nothing is ready, then delivers one outcome."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stepwell.sdk.runtime import Deferred
from stepwell.sdk.scope import current_scope, enter_scope
from stepwell_sandbox.guest import real
from stepwell_sandbox.guest.deadlines import Deadlines, install_deadlines

if TYPE_CHECKING:
    from stepwell_sandbox.guest.channel import Channel

T = TypeVar("T")
STEP_THREADS = 32
POLLING_TURNS = 500  # of the loop, without one in which nothing is ready, before an outcome is delivered all the same
# Taken before `waits` makes the module's own one a timer of the run.
_sleep = asyncio.sleep


class Deliveries(Deadlines, Protocol):
    """What the loop asks of the runtime."""

    channel: "Channel"

    def deliver_next(self) -> bool:
        """Give the body its next outcome."""
        ...

    @property
    def deliverable(self) -> bool:
        """Whether `deliver_next` has something to give."""
        ...

    def send_held(self) -> None:
        """Ask the host for what was kept back."""
        ...

    def check_stuck(self) -> None:
        """Raise if the next recorded outcome was never asked for."""
        ...

    def say_idle(self) -> None:
        """Tell the host that only it can make the run go on."""
        ...

    @property
    def rehearsing(self) -> bool:
        """Whether only what is recorded is replayed."""
        ...

    def rest(self) -> Coroutine[Any, Any, None]:
        """While rehearsing, when all that is recorded has been replayed: return what is left to do."""
        ...

    def dispatch(self, frames: list[dict[str, Any]]) -> None:
        """Take outcomes that have arrived."""
        ...

    def thread_runs(self, runs: bool) -> None:
        """Count a thread that runs a step."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a thread runs code, not counting those that wait for the host."""
        ...

    @property
    def outstanding(self) -> bool:
        """Whether the host owes an outcome."""
        ...


class _Job:
    """A synchronous step function that waits to be run."""

    def __init__(self, fn: Callable[[], Any], timeout: float | None) -> None:
        self.context = contextvars.copy_context()
        self.fn = fn
        self.timeout = timeout
        # Not a numbered one: on a replay there is none for a step that is restored.
        self.future: asyncio.Future[Any] = asyncio.Future(loop=asyncio.get_running_loop())


class _NumberedFuture(asyncio.Future[Any]):
    """A future whose place in a set is the same on every replay."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        scope = current_scope()
        self._number = id(self) if scope is None else scope.number("future")

    def __hash__(self) -> int:
        return self._number


class _NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set is the same on every replay."""

    def __init__(self, coroutine: Any, number: int, **options: Any) -> None:
        # Before the task is made: making it enters it into asyncio's own set of tasks.
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class BodyLoop:
    """Runs coroutines of the workflow, one `run` at a time."""

    def __init__(self, runtime: Deliveries) -> None:
        self._runtime = runtime
        self._main = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._jobs: list[_Job] = []
        self._gates: list[asyncio.Future[None]] = []
        self._body: asyncio.Task[Any] | None = None
        self.failed = False
        """Whether the body is being cancelled because it left its journal: what it gives up now is not given up."""
        self._executor: ThreadPoolExecutor | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end, delivering outcomes meanwhile."""
        outer = self._loop, self._waiting, self._jobs, self._gates, self._body
        loop = self._loop = asyncio.new_event_loop()
        self._waiting, self._jobs, self._gates = None, [], []
        loop.create_future = lambda: _NumberedFuture(loop=loop)
        install_deadlines(loop, self._runtime)
        loop.add_reader(self._runtime.channel.fd, self._readable)
        body = self._body = loop.create_task(coroutine, name="workflow")
        pump = loop.create_task(self._pump(), name="deliveries")
        pump.add_done_callback(functools.partial(self._pump_ended, body))
        loop.set_task_factory(self._make_task)
        try:
            return loop.run_until_complete(body)
        except asyncio.CancelledError:
            if pump.done() and (error := pump.exception()) is not None:
                raise error from None
            raise
        finally:
            if not pump.done():
                pump.cancel()
                loop.run_until_complete(asyncio.wait([pump]))
            # A step of the outer loop may have run this one: that one goes on, and may have missed a wake-up.
            self._loop, self._waiting, self._jobs, self._gates, self._body = outer
            loop.close()
            self._wake_now()

    def _pump_ended(self, body: "asyncio.Task[Any]", pump: "asyncio.Task[None]") -> None:
        if not pump.cancelled() and pump.exception() is not None:
            self.failed = True
            body.cancel()

    def quiet(self) -> bool:
        """Whether nothing but the running task can go on: then it is the time to give the body its next outcome.

        The task that runs asks this before it waits. What it waits for may be given to it at once, which is what
        `_pump` would do some turns of the loop later.
        """
        loop: Any = self._loop
        task = asyncio.current_task()
        if self.failed or task is None or task.cancelling() or not self.runs_here():
            return False
        waits = self._waiting is not None and not self._waiting.done()
        return len(loop._ready) == (0 if waits else 1)

    def timed(self) -> bool:
        """Whether something happens here by itself some time."""
        return _has_timers(self._loop)

    def runs_here(self) -> bool:
        """Whether the running event loop is the one that delivers outcomes."""
        return asyncio.get_running_loop() is self._loop

    def wake(self) -> None:
        """Something may be deliverable; from any thread."""
        loop, here = self._loop, threading.get_ident() == self._main
        if loop is None:
            if not here:  # the main thread does not wait, as it runs this
                self._runtime.channel.wake()
        elif here:
            self._wake_now()
        else:
            loop.call_soon_threadsafe(self._wake_now)

    def resolve(self, future: "asyncio.Future[None]") -> None:
        """Wake the coroutine that waits for an outcome; from any thread."""
        if threading.get_ident() == self._main:
            future.set_result(None)
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: future.done() or future.set_result(None))

    async def run_function(self, fn: Callable[[], T], timeout: float | None) -> T:
        """Run a synchronous function: here if nothing else could go on meanwhile, else in a thread."""
        job = _Job(fn, timeout)
        if not self._jobs and self.quiet() and self._alone(job):
            self._run_here(job)
            return job.future.result()
        self._jobs.append(job)
        self._wake_now()
        async with asyncio.timeout(timeout):
            return await job.future

    async def none_due(self) -> None:
        """Wait until the body waits and there is no outcome to give to it."""
        # Not a numbered one: the first time there was none.
        gate: asyncio.Future[None] = asyncio.Future(loop=asyncio.get_running_loop())
        self._gates.append(gate)
        self._wake_now()
        await gate

    def run_bounded(self, fn: Callable[[], T], timeout: float) -> T:
        """Run a function in a thread from blocking code; abandon it at the timeout."""
        outcome: list[Any] = []
        context = contextvars.copy_context()

        def work() -> None:
            try:
                outcome.append((context.run(fn), None))
            except BaseException as error:  # noqa: BLE001  handed over to the thread that waits
                outcome.append((None, error))
            self._runtime.thread_runs(False)
            self._runtime.channel.wake()

        self._runtime.thread_runs(True)
        real.start_thread(threading.Thread(target=work, daemon=True))
        deadline = real.monotonic() + timeout
        while not outcome:
            left = deadline - real.monotonic()
            if left <= 0:
                raise TimeoutError
            self._runtime.dispatch(self._runtime.channel.receive(left))
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    # -- inside the loop -----------------------------------------------------------------------------------------

    def _readable(self) -> None:
        self._runtime.dispatch(self._runtime.channel.receive(0))
        self._wake_now()

    def _wake_now(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _pump(self) -> None:
        loop: Any = asyncio.get_running_loop()
        while True:
            await _turn()
            # Empty but for this task: the body waits. A body that polls is never quiet, and gets its outcomes so too.
            for _ in range(POLLING_TURNS):
                if not loop._ready:
                    break
                await _turn()
            if self._body is not None and self._body.done():
                return  # saying that it is idle now would park a run that has its result
            if self._runtime.deliver_next():
                continue
            self._runtime.send_held()
            if self._open_gates() or self._start_jobs(loop):
                continue
            if not self._runtime.busy and not _has_timers(loop):
                self._runtime.check_stuck()
                self._runtime.say_idle()
                if self._runtime.rehearsing:
                    # The body will not go on; what is left to do runs beside it.
                    self._body = asyncio.Task(self._runtime.rest(), loop=loop, name="rest")
                    continue
            # Not a numbered one: how often the pump waits is no property of the program.
            waiting: asyncio.Future[None] = asyncio.Future(loop=loop)
            self._waiting = waiting
            self._runtime.channel.flush()
            if self._runtime.channel.arrives_soon():
                self._readable()
            await waiting

    def _open_gates(self) -> bool:
        gates, self._gates = self._gates, []
        for gate in gates:
            if not gate.done():
                gate.set_result(None)
        return bool(gates)

    def _start_jobs(self, loop: Any) -> bool:
        jobs, self._jobs = [job for job in self._jobs if not job.future.done()], []
        if len(jobs) == 1 and self._alone(jobs[0]):
            self._run_here(jobs[0])
        else:
            for job in jobs:
                self._run_in_thread(job)
        return bool(jobs)

    def _alone(self, job: _Job) -> bool:
        """Whether nothing can happen while the function runs."""
        runtime = self._runtime
        # What is delivered first may let others go on, or cancel this; what waits at a gate goes on beside it.
        if job.timeout is not None or runtime.deliverable or self._gates:
            return False
        return not runtime.busy and not runtime.outstanding and not _has_timers(self._loop)

    def _run_here(self, job: _Job) -> None:
        # The function must see no running loop, or its tool calls would not block.
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            value, error = job.context.run(job.fn), None
        except Exception as raised:  # noqa: BLE001  the author's code: handed to the step
            value, error = None, raised
        finally:
            asyncio._set_running_loop(running)
        _settle(job.future, value, error)

    def _run_in_thread(self, job: _Job) -> None:
        loop = asyncio.get_running_loop()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(STEP_THREADS)
        self._runtime.thread_runs(True)

        def done(value: Any, error: BaseException | None) -> None:
            self._runtime.thread_runs(False)
            _settle(job.future, value, error)
            self._wake_now()

        def work() -> None:
            try:
                value, error = job.context.run(job.fn), None
            except BaseException as raised:  # noqa: BLE001  handed over to the loop
                value, error = None, raised
            loop.call_soon_threadsafe(functools.partial(done, value, error))

        real.submit(self._executor, work)

    def _make_task(self, loop: Any, coroutine: Any, **options: Any) -> Any:
        scope = current_scope()
        if isinstance(coroutine, Deferred):
            coroutine = coroutine.start()
        if scope is None:
            return asyncio.Task(coroutine, loop=loop, **options)
        branch = scope.branch()
        context = options.pop("context", None) or contextvars.copy_context()
        context.run(enter_scope, branch)
        # Not a number of the process: on a replay it makes fewer tasks.
        options["name"] = options.get("name") or f"Task {branch.path.rstrip('/')}"
        return _NumberedTask(coroutine, hash(branch.path), loop=loop, context=context, **options)


async def _turn() -> None:
    await _sleep(0)


def _has_timers(loop: Any) -> bool:
    """Whether the guest will go on by itself. The timeout of a step does not count: it limits work, not waiting."""
    return any(not handle._cancelled and not _limits_work(handle) for handle in loop._scheduled)


def _limits_work(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Timeout)


def _settle(future: "asyncio.Future[Any]", value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    elif isinstance(error, StopIteration):
        # A future cannot hold one: it would end the coroutine that awaits it.
        replaced = RuntimeError("the step raised StopIteration; give next() a default")
        replaced.__cause__ = error
        future.set_exception(replaced)
    else:
        future.set_exception(error)
