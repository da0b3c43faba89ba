"""`ctx.batch`, `ctx.map` and their kin: one step for each item, only so many at once.

The steps have keys under the batch's own, by the place of their item: `load~0`, `load~1`. In which order they end
cannot change them. A step is made when its item's turn comes, so that many items are not many tasks.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stepwell.sdk import codec
from stepwell.sdk.exceptions import ApprovalDenied, BatchError
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.options import StepOptions, given_options, read_options
from stepwell.sdk.runtime import runtime
from stepwell.sdk.scope import check_name, enter_scope, leave_scope
from stepwell.sdk.step import Step, check_undo, function_options, step_name

MAX_CONCURRENCY = 1000  # the host answers 1024 calls of a run at one time
SHOWN_FAILURES = 10  # in the text of a BatchError

ItemStatus = Literal["completed", "failed", "cancelled"]
BatchStatus = Literal["completed", "partial_failure", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class ItemError:
    """Why an item failed."""

    code: str
    """The exception's own code, `timeout`, or `workflow_error`."""
    message: str
    type: str


@dataclass(frozen=True, slots=True)
class BatchItem:
    """What came of one item."""

    index: int
    item_id: str
    """The key of its step in the journal."""
    run_id: str
    status: ItemStatus
    """`cancelled`: not tried, since the batch had stopped."""
    input: dict[str, Any]
    """The keyword arguments; an item that is no dict is `{"value": item}`."""
    output: Any
    error: ItemError | None
    duration_ms: int | None
    """From the beginning of its first attempt to its end; None if it was not tried."""


@dataclass(frozen=True, slots=True)
class BatchStats:
    """Counts and times of a batch."""

    total_items: int
    completed_items: int
    failed_items: int
    cancelled_items: int
    pending_items: int
    """Always 0: a batch is waited for."""
    duration_ms: int
    """From the beginning of the first item to the end of the last one."""
    avg_item_duration_ms: float


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What `ctx.batch` returns."""

    batch_id: str
    status: BatchStatus
    """`partial_failure`: some failed, some did not; `failed`: none completed; `cancelled`: it stopped at a failure."""
    stats: BatchStats
    results: list[BatchItem]

    @property
    def outputs(self) -> list[Any]:
        """One output for each item, None where there is none."""
        return [item.output for item in self.results]

    def successful_outputs(self) -> list[Any]:
        """Return the outputs of the items that completed."""
        return [item.output for item in self.results if item.status == "completed"]

    def failed_items(self) -> list[BatchItem]:
        """Return the items that failed."""
        return [item for item in self.results if item.status == "failed"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done with the items."""

    fn: Callable[..., Any]
    items: list[Any]
    name: str
    options: StepOptions
    line: int
    width: int
    """How many items at once."""
    stop: bool
    """Whether a failure keeps further items from being tried."""
    spread: bool = True
    """Whether a dict is an item's keyword arguments."""
    step_prefix: str | None = None
    """Steps are named `<prefix>_<index>` instead of `name`."""

    def __post_init__(self) -> None:
        check_undo(self.options, self.name)
        check_name(self.name)

    def arguments(self, item: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return how `fn` gets an item."""
        if self.spread and isinstance(item, Mapping):
            return (), {str(name): value for name, value in item.items()}
        return (item,), {}

    def step(self, key: str, index: int) -> Step:
        """Return the step of an item."""
        args, kwargs = self.arguments(self.items[index])
        name = self.name if self.step_prefix is None else f"{self.step_prefix}_{index}"
        return Step(name, self.fn, args, kwargs, self.options, self.line, key=item_key(key, index))


@dataclass(slots=True)
class Batch:
    """The items under way."""

    plan: Plan
    key: str
    failures: dict[int, Exception] = field(default_factory=dict[int, Exception])
    """By index, in the order in which the run learned of them."""
    _outputs: dict[int, Any] = field(default_factory=dict[int, Any])
    _spans: dict[int, tuple[float, float]] = field(default_factory=dict[int, tuple[float, float]])
    _next: int = 0
    _stopped: bool = False

    async def run(self) -> BatchResult:
        """Run all items.

        Raises:
            Exception: a person has rejected an item, or has given up a call in doubt. No further item was begun.
        """
        outer = runtime().scope()
        token = enter_scope(outer.inside(f"{self.key}~/"))
        try:
            await runtime().run_async(self._run(), None)
        finally:
            leave_scope(token)
        for error in self.failures.values():
            if is_decided(error):
                raise error
        return self._result()

    async def _run(self) -> None:
        width = min(self.plan.width, len(self.plan.items))
        await asyncio.gather(*(self._work() for _ in range(width)))

    async def _work(self) -> None:
        while self._next < len(self.plan.items) and not self._stopped:
            index = self._next
            self._next += 1
            try:
                step = self.plan.step(self.key, index)
            except Exception as error:  # noqa: BLE001  the author's item: iterators in it are read now
                self._failed(index, error)
                continue
            try:
                self._outputs[index] = await step
            except Exception as error:  # noqa: BLE001  the author's code: part of the result
                self._failed(index, error)
            self._spans[index] = step.span

    def _failed(self, index: int, error: Exception) -> None:
        self.failures[index] = error
        self._stopped = self._stopped or self.plan.stop or is_decided(error)

    def _result(self) -> BatchResult:
        results = [self._item(index) for index in range(len(self.plan.items))]
        cancelled = len(results) - len(self._outputs) - len(self.failures)
        status: BatchStatus = "completed"
        if cancelled:
            status = "cancelled"
        elif self.failures:
            status = "partial_failure" if self._outputs else "failed"
        return BatchResult(f"{runtime().info.run_id}:{self.key}", status, self._stats(cancelled), results)

    def _stats(self, cancelled: int) -> BatchStats:
        began = [span[0] for span in self._spans.values()]
        ended = [span[1] for span in self._spans.values()]
        whole = max(ended, default=0.0) - min(began, default=0.0)
        spent = sum(ended) - sum(began)
        return BatchStats(
            len(self.plan.items), len(self._outputs), len(self.failures), cancelled, 0, _ms(whole),
            round(spent * 1000 / max(1, len(self._spans)), 3),
        )  # fmt: skip

    def _item(self, index: int) -> BatchItem:
        args, kwargs = self.plan.arguments(self.plan.items[index])
        status: ItemStatus = "cancelled"
        if index in self._outputs:
            status = "completed"
        elif index in self.failures:
            status = "failed"
        error = self.failures.get(index)
        span = self._spans.get(index)
        return BatchItem(
            index, item_key(self.key, index), runtime().info.run_id, status,
            {"value": args[0]} if args else kwargs, self._outputs.get(index),
            None if error is None else _describe(error), None if span is None else _ms(span[1] - span[0]),
        )  # fmt: skip


async def run_batch(plan: Plan, key: str) -> BatchResult:
    """Run all items and return what came of each."""
    return await Batch(plan, key).run()


async def run_map(plan: Plan, key: str) -> list[Any]:
    """Run all items and return their outputs.

    Raises:
        BatchError: one failed.
    """
    batch = Batch(plan, key)
    result = await batch.run()
    if not batch.failures:
        return result.outputs
    shown = [
        f"item {index}: {type(error).__name__}: {error}"[:500]
        for index, error in sorted(batch.failures.items())[:SHOWN_FAILURES]
    ]
    more = len(batch.failures) - len(shown)
    text = f"{len(batch.failures)} of {len(plan.items)} items of {plan.name} failed: {'; '.join(shown)}"
    failed = BatchError(f"{text}; and {more} more" if more else text, failed=sorted(batch.failures))
    failed.result = result
    # Its cause is the first that the run learned of: from there on a resumed run tries again.
    raise failed from next(iter(batch.failures.values()))


async def run_all(plan: Plan, key: str) -> list[Any]:
    """Run all items and return their outputs; the first failure is raised as it is."""
    batch = Batch(replace(plan, stop=True), key)
    result = await batch.run()
    for error in batch.failures.values():
        raise error
    return result.outputs


def read_plan(fn: Any, items: Any, given: dict[str, Any]) -> tuple[Plan, str]:
    """Return what `ctx.batch` was asked to do, and its key.

    Raises:
        TypeError, ValueError: an argument makes no sense.
    """
    if not callable(fn):
        raise TypeError(f"ctx.batch and ctx.map take a function and its items, not a {type(fn).__name__}")
    width = read_width("max_concurrency", given.pop("max_concurrency", 10))
    stop = not given.pop("continue_on_failure", True)
    timeout = given.pop("timeout_per_item", None)
    if timeout is not None and given.setdefault("timeout", timeout) != timeout:
        raise TypeError("give timeout_per_item= or timeout=, which mean the same here, not both")
    name = given.pop("name", None) or step_name(fn)
    own = given.pop("key", None)
    options = step_options(fn, given)
    listed = read_items(items)
    scope = runtime().scope()
    key = scope.claim(own) if own else scope.key(name)
    return Plan(fn, listed, name, options, caller_line(WORKFLOW_FILE), width, stop), key


def step_options(work: Any, given: dict[str, Any]) -> StepOptions:
    """Return the options of a step: those given, else those of the work's `@function`."""
    return function_options(work, read_options(given), given_options(given))


def read_items(items: Any) -> list[Any]:
    """Return the items of a batch.

    Raises:
        TypeError: it is a text or a dict, or nothing that can be iterated.
    """
    if isinstance(items, (str, bytes, Mapping)) or not hasattr(items, "__iter__"):
        raise TypeError(f"items is a list, one call for each of its members, not a {type(items).__name__}")
    return list(codec.settled(iter(items)))


def read_width(name: str, value: Any) -> int:
    """Return how many items may be under way at once.

    Raises:
        ValueError: it is no whole number from 1 to 1000.
    """
    if type(value) is not int or not 1 <= value <= MAX_CONCURRENCY:
        raise ValueError(f"{name} is a whole number from 1 to {MAX_CONCURRENCY}, not {value!r}")
    return value


def item_key(key: str, index: int) -> str:
    """Return the key of an item's step."""
    return f"{key}~{index}"


def is_decided(error: BaseException) -> bool:
    """Whether a person has said no, which is not a failure of one item among others."""
    return isinstance(error, ApprovalDenied) or getattr(error, "code", "") in ("rejected", "in_doubt")


def _describe(error: Exception) -> ItemError:
    given = getattr(error, "code", None)
    code = given if isinstance(given, str) and given else ""
    kind = str(getattr(error, "type_name", "") or type(error).__name__)
    return ItemError(code or ("timeout" if isinstance(error, TimeoutError) else "workflow_error"), str(error), kind)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
