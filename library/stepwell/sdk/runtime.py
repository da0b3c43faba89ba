"""What the authoring API needs from the guest that runs it."""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, TypeVar

from stepwell.sdk.options import StepOptions
from stepwell.sdk.scope import Scope

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What a workflow may know about its own run."""

    run_id: str
    workflow: str
    attempt: int
    """How often a process has taken the run up, 1 the first time."""
    session_id: str | None
    user_id: str | None


class Runtime(Protocol):
    """The guest's side of every call. One per process."""

    @property
    def info(self) -> RunInfo:
        """The run."""
        ...

    @property
    def replaying(self) -> bool:
        """Whether recorded deliveries are still to come."""
        ...

    def scope(self) -> Scope:
        """Return the scope of the running code.

        Raises:
            RuntimeError: the code runs outside of the workflow.
        """
        ...

    def blocking(self) -> bool:
        """Whether the running code must wait by blocking: it is not in a coroutine."""
        ...

    async def call(
        self,
        kind: str,
        name: str,
        args: list[Any],
        kwargs: dict[str, Any],
        key: str,
        *,
        block: bool = False,
        ordered: bool | None = None,
    ) -> Any:
        """Ask the host and return its answer; never suspends with `block` or where `blocking()` is true.

        `ordered` says whether the outcome has a place in the order of deliveries; the scope's by default.
        """
        ...

    def find_attempts(self, key: str) -> tuple[int, int]:
        """Return how many failed attempts of the step are recorded, and how many of them count against its limit."""
        ...

    def span(self, key: str) -> tuple[float, float] | None:
        """Return when the step's first recorded attempt began and its newest one ended; None if none is recorded."""
        ...

    def has_result(self, key: str, name: str, digest: str) -> bool:
        """Whether the step's result is recorded.

        Raises:
            NonDeterminismError: the journal holds another call at this key.
        """
        ...

    @property
    def rehearsing(self) -> bool:
        """Whether only what is recorded is replayed: no work is done that is not."""
        ...

    async def hold(self, key: str, name: str) -> None:
        """While rehearsing: note that a step is asked for which has no result. Does not return."""
        ...

    async def restore(self, key: str, options: StepOptions) -> Any:
        """Return or raise the recorded result of a step, in its turn."""
        ...

    async def record(self, report: "StepReport") -> Any:
        """Record a finished attempt; for a final one return or raise its result, as a replay would."""
        ...

    async def turn_to_begin(self, path: str) -> None:
        """On a replay wait until no recorded outcome is due: one may cancel the attempt at `path`, before it begins.

        One that is recorded to have made calls does not wait: it goes through them again, to its clean-up.
        """
        ...

    async def run_sync(self, fn: Callable[[], T], timeout: float | None) -> T:
        """Run a function that may block."""
        ...

    async def run_async(self, work: Awaitable[T], timeout: float | None) -> T:
        """Await something that needs an event loop."""
        ...

    def note(self, kind: str, **fields: Any) -> None:
        """Add to the timeline."""
        ...

    def terminate(self, reason: str) -> NoReturn:
        """End the run as a success with a reason."""
        ...

    def now(self) -> float:
        """Return unix seconds; in the body of a workflow the time of the last delivery."""
        ...

    def read_clock(self) -> float:
        """Return unix seconds as workflow code gets them: the same on every replay."""
        ...

    def convert(self, value: Any, hint: Any) -> Any:
        """Return JSON as the type that a hint names.

        Raises:
            ValueError, TypeError, ArithmeticError: it does not fit.
        """
        ...

    def derive(self, what: str) -> str:
        """Return a secret text for that name, the same on every replay of the run."""
        ...

    def dropped(self) -> None:
        """Work that was made for a finished step is not needed, nor is what it was made of."""
        ...

    def made(self, operation: "Deferred") -> None:
        """Remember an operation until it is awaited."""
        ...


@dataclass(slots=True)
class StepReport:
    """One finished attempt of a step."""

    key: str
    name: str
    attempt: int
    final: bool
    started: float
    finished: float
    digest: str
    value: Any = None
    error: Exception | None = None
    options: StepOptions = field(default_factory=StepOptions)


_bound: Runtime | None = None


def bind(runtime: Runtime) -> None:
    """Make `runtime` the one behind all handles of this process."""
    global _bound  # noqa: PLW0603  one process runs one workflow
    _bound = runtime


def runtime() -> Runtime:
    """Return the bound runtime.

    Raises:
        RuntimeError: the code does not run in a workflow.
    """
    if _bound is None:
        raise RuntimeError("this works inside a running workflow only; run it with `stepwell run`")
    return _bound


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends and return its value."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("async work cannot be awaited here; call it from `async def` code")


class Deferred:
    """Something that happens when it is awaited. Its key was taken when it was made."""

    restartable = False
    """Whether a step can have it as its work in every attempt, by `anew`."""

    def __init__(self, what: str, line: int, start: Callable[[], Coroutine[Any, Any, Any]], key: str = "") -> None:
        self.key = key
        self.what = what
        self.line = line
        self.started = False
        self._start = start
        self._number = runtime().scope().number("operation")
        runtime().made(self)

    def __hash__(self) -> int:
        return self._number

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "line" not in self.__dict__:
            raise AttributeError(name)
        raise AttributeError(
            f"{self.what}, made in line {self.line}, has no {name!r} before it is awaited: write (await ...).{name}"
        )

    def start(self) -> Coroutine[Any, Any, Any]:
        """Return the coroutine that does it; a second time is an error."""
        if self.started:
            raise RuntimeError(f"{self.what} (line {self.line}) was awaited twice; keep its result in a variable")
        self.started = True
        return self._start()

    def __await__(self) -> Generator[Any, None, Any]:
        return self.start().__await__()

    def anew(self) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that does it once more, with a key of the current scope."""
        raise NotImplementedError

    def discard(self) -> None:
        """It will not be awaited, on purpose."""
        self.started = True

    def ended(self, value: Any) -> None:
        """The step that it was handed to has this result, new or restored."""


def operate(what: str, line: int, start: Callable[[], Coroutine[Any, Any, Any]], key: str = "") -> Any:
    """Do it now where code blocks, else return it to be awaited."""
    return drive(start()) if runtime().blocking() else Deferred(what, line, start, key)
