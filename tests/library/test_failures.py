"""Exceptions as data: raised again, they are what they were."""

import itertools
import json
import operator
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell.sdk.exceptions import StepError
from stepwell_sandbox.guest import failure


class Slotted(Exception):
    __slots__ = ("extra",)


class Signed(Exception):
    def __new__(cls, one: int, two: int) -> "Signed":
        return super().__new__(cls, one, two)

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} of {two}")
        self.one, self.two = one, two


class Quiet(Exception):
    def __str__(self) -> str:
        return f"quiet {self.response.status}"  # pyright: ignore[reportAttributeAccessIssue]

    def __init__(self) -> None:
        self.response = Response()


class Response:
    status = 404


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    @property
    def code(self) -> str:
        raise ValueError("no code")


class Coded(Exception):
    code = 418


class Missing(OSError):
    def __init__(self, name: str) -> None:
        super().__init__(2, f"no {name}")
        self.name = name


class Both(KeyError, AttributeError):
    pass


class Team(ExceptionGroup[Exception]):
    def __new__(cls, errors: list[Exception]) -> "Team":  # pyright: ignore[reportInconsistentConstructor]
        return super().__new__(cls, "team", errors)


def make_team() -> Exception:
    team: Any = Team
    return team([ValueError(1)])


@dataclass
class Typed(Exception):
    number: int


def with_notes(error: Exception, *notes: str) -> Exception:
    for note in notes:
        error.add_note(note)
    return error


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def raised(work: Callable[[], Any]) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError


ERRORS: list[Exception] = [
    ValueError("x"), ValueError(), ValueError(1, [2]), KeyError("k"), KeyError(("a", 1)), StopIteration(5),
    FileNotFoundError(2, "No such file", "/a"), OSError(17, "exists", "/a", None, "/b"), OSError("text"),
    OSError(5, "io"), raised(Path("/nowhere/at/all").read_text), raised(b"\xff".decode), raised("\ud800".encode),
    raised(lambda: compile("a b", "f.py", "exec")), raised(lambda: operator.attrgetter("nothing")(5)),
    raised(lambda: __import__("nowhere_at_all")), raised(lambda: json.loads("{")), raised(lambda: Decimal("x")),
    raised(lambda: 1 // 0), raised(lambda: int("\ud800")),
    Slotted("s"), Signed(1, 2), Coded("tea"), Missing("file"), Both("k"), Typed(5), Mute("m"),
    with_notes(ValueError("x"), "one", "two \ud800"), caused(ValueError("x"), caused(KeyError("y"), OSError(2, "z"))),
    ExceptionGroup("many", [ValueError(1), ExceptionGroup("inner", [KeyError("k"), Signed(1, 2)])]),
    make_team(), ValueError("\ud800"), ValueError("\x1b[31mred\x00"), ValueError("x" * 10_000),
    ValueError("y" * 10_000_000),
]  # fmt: skip


def through_the_host(described: dict[str, Any]) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(msgspec.json.decode(json.dumps(described, ensure_ascii=False).encode())))


def whole(described: dict[str, Any]) -> dict[str, Any]:
    return {name: described.get(name) for name in ("type", "message", "code", "cause", "step", "attempt")}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_exceptions_come_back_as_they_were(error: Exception):
    described = through_the_host(failure.describe(error))
    again = failure.rebuild(described)

    assert type(again) is type(error)
    assert whole(failure.describe(again)) == whole(described)
    assert getattr(again, "__notes__", None) == getattr(error, "__notes__", None)
    if len(ascii(error)) < 1_000_000 and not isinstance(error, (ExceptionGroup, InvalidOperation)):
        assert again.args == error.args
    for name in (
        "errno",
        "filename",
        "filename2",
        "name",
        "reason",
        "start",
        "value",
        "lineno",
        "number",
        "one",
        "pos",
    ):
        assert getattr(again, name, None) == getattr(error, name, None)


def test_groups_come_back_with_their_members():
    error = ExceptionGroup("many", [ValueError(1), ExceptionGroup("inner", [Signed(1, 2)])])
    again = failure.rebuild(through_the_host(failure.describe(error)))

    assert isinstance(again, ExceptionGroup)
    first, inner = again.exceptions
    assert (type(first), first.args) == (ValueError, (1,))
    assert isinstance(inner, ExceptionGroup)
    assert isinstance(signed := inner.exceptions[0], Signed)
    assert (signed.one, signed.two) == (1, 2)


def make_local() -> Exception:
    class Local(Exception):
        pass

    return Local("boom")


@pytest.mark.parametrize(("error", "message"), [(make_local(), "boom"), (Quiet(), "quiet 404")])
def test_what_cannot_come_back_is_a_step_error_of_the_same_text(error: Exception, message: str):
    described = through_the_host(failure.describe(error))
    again = failure.rebuild(described)

    assert isinstance(again, StepError)
    assert (str(again), again.type_name) == (message, type(error).__qualname__)
    assert whole(failure.describe(again)) == whole(described)
    twice = failure.rebuild(through_the_host(failure.describe(again)))
    assert whole(failure.describe(twice)) == whole(described)


def test_many_groups_in_groups_fit_into_a_frame():
    error: Exception = ValueError("x")
    for n in range(40):
        error = ExceptionGroup[Exception](f"g{n}", [error])
    text = json.dumps(failure.describe(error))

    assert max(itertools.accumulate((c in "[{") - (c in "]}") for c in text)) < 60
    assert str(failure.rebuild(json.loads(text))) == str(error)


def test_failures_of_the_host_become_what_a_workflow_can_catch():
    told = {"type": "ToolError", "message": "no", "code": "busy", "payload": {"d": {"tool": "curl.get"}}}
    error: Any = failure.rebuild(told)
    assert (type(error).__name__, str(error), error.code, error.tool, error.retryable) == (
        "ToolError", "no", "busy", "curl.get", False,
    )  # fmt: skip

    error = failure.rebuild({"type": "ValueError", "message": "no such", "code": "not_found"})
    assert (type(error), error.args, error.code) == (ValueError, ("no such",), "not_found")
