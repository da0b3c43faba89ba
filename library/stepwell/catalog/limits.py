"""Limits that a workflow sets for its own runs: they can be lower than the operator's, and not higher."""

from stepwell.errors import InvalidSource
from stepwell.model import Json, JsonObject, Version, Warn
from stepwell.ports.limits import Limits, read_limits, read_timeout, show_limit

LIMIT_OPTIONS = ("limits", "timeout")
MAX_USD = 1_000_000
BUDGET_OPTIONS = ("budget_usd", "max_budget")
FORM = "options = dict(timeout=120, limits=dict(memory_bytes='256 MiB', cpu_s=10))"


def check_limits(options: JsonObject, line: int) -> None:
    """Check the limits among a module's options.

    Raises:
        InvalidSource: an unknown name, or no such value.
    """
    try:
        read_limits(options.get("limits") or {})
        read_timeout(options.get("timeout"))
    except ValueError as error:
        raise InvalidSource(f"options: {error}.", hint=f"Write for example {FORM}.", line=line) from error


def check_budget(given: Json, line: int) -> None:
    """Check what a module says that a run may spend on models.

    Raises:
        InvalidSource: it is no amount.
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MAX_USD:
        raise InvalidSource(
            f"options: budget_usd is a number of dollars up to {MAX_USD:,}, 0 for no bound, not {given!r}.",
            hint="Write options = dict(budget_usd=1.0).",
            line=line,
        )


def within(version: Version, allowed: Limits) -> list[Warn]:
    """Compare what a version sets with what the operator allows; a longer `timeout` is cut, and a warning says so.

    Raises:
        InvalidSource: one of its `limits` is higher.
    """
    for name, value in read_limits(version.options.get("limits") or {}).items():
        most = getattr(allowed, name)
        if value > most:
            raise InvalidSource(
                f"options: limits sets {name} = {show_limit(name, value)}, more than the {show_limit(name, most)} that "
                "this server allows; a workflow can only lower a limit.",
                hint=f"Lower it or leave it out. The operator can raise {name} under [limits] in stepwell.toml.",
                line=_line(version.source, name),
            )
    timeout = read_timeout(version.options.get("timeout"))
    if timeout is None or timeout <= allowed.wall_s:
        return []
    message = (
        f"timeout = {timeout:g} s is more than wall_s = {allowed.wall_s:g} s of work that this server allows, and is "
        "cut to that. Waits do not count. The operator can raise wall_s under [limits] in stepwell.toml."
    )
    return [Warn("timeout_cut", message, _line(version.source, "timeout"))]


def _line(source: str, name: str) -> int | None:
    return next((n for n, line in enumerate(source.splitlines(), 1) if name in line), None)
