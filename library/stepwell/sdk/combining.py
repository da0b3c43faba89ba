"""`fan_out`, `reduce`, `branch` and the `map` of `Workflow`: shapes of work over plain callables."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from stepwell.sdk.batch import Plan, read_items, read_width, run_all, step_options
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.runtime import operate, runtime
from stepwell.sdk.step import Step, drop, step_name


def fan_out(items: Iterable[Any], fn: Callable[..., Any], concurrency: int = 5, **options: Any) -> Any:
    """Run `fn(item)` for each item, each a step, so many at once; outputs in the order of the items."""
    return _all(fn, read_items(items), concurrency, None, options)


def map_items(
    fn: Callable[..., Any],
    items: Iterable[Any],
    prefix: str = "",
    concurrency: int = 5,
    step_prefix: str | None = None,
    **options: Any,
) -> Any:
    """Like `fan_out`; `prefix` is put before each item as text, `step_prefix` names the steps `<step_prefix>_<i>`."""
    listed = read_items(items)
    return _all(fn, [f"{prefix}{item}" for item in listed] if prefix else listed, concurrency, step_prefix, options)


def reduce(items: Iterable[Any], fn: Callable[..., Any], separator: str = "\n\n", **options: Any) -> Any:
    """Join the items as text and run `fn` once with it, as a step."""
    text = separator.join(str(item) for item in read_items(items))
    step = Step(step_name(fn), fn, (text,), {}, step_options(fn, options), caller_line(WORKFLOW_FILE))
    return step.finish() if runtime().blocking() else step


def branch(condition: Any, if_true: Any = None, if_false: Any = None) -> Any:
    """Take one of two ways: a function is called, a call that was made is awaited; the other one is dropped."""
    holds = condition() if callable(condition) else condition
    chosen, other = (if_true, if_false) if holds else (if_false, if_true)
    drop(other)

    async def take() -> Any:
        value: Any = chosen
        if callable(chosen) and not inspect.isawaitable(chosen):
            value = chosen()
        return await runtime().run_async(value, None) if inspect.isawaitable(value) else value

    return operate("branch", caller_line(WORKFLOW_FILE), take)


def _all(fn: Any, items: list[Any], concurrency: int, step_prefix: str | None, options: dict[str, Any]) -> Any:
    if not callable(fn):
        raise TypeError(f"give a function for the items, not a {type(fn).__name__}")
    name = step_name(fn)
    width = read_width("concurrency", concurrency)
    line = caller_line(WORKFLOW_FILE)
    key = runtime().scope().key(step_prefix or name)
    plan = Plan(fn, items, name, step_options(fn, options), line, width, True, False, step_prefix)
    return operate(f"{name} for {len(items)} items", line, lambda: run_all(plan, key))
