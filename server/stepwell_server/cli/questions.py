"""A run's question to a person, as text; and what was typed, as a decision."""

from dataclasses import dataclass
from typing import Literal

from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject, Run, Wait
from stepwell_server.cli.text import block, one_line, to_json

PERSON = ("approval", "input")
MAX_CONTEXT = 4000  # characters shown of what is to be approved
_YES = frozenset({"y", "yes", "approve", "ok"})
_NO = frozenset({"n", "no", "reject"})


@dataclass(frozen=True, slots=True)
class Decided:
    """What a person said: arguments of `Engine.decide`."""

    decision: Literal["approve", "reject", "answer"]
    value: Json = None
    reason: str = ""
    scope: str = "once"


def question_text(run: Run, wait: Wait) -> str:
    """Return what a person must see before deciding."""
    asks = "asks for approval" if wait.kind == "approval" else "asks"
    lines = [f"{one_line(run.workflow)} {asks}: {block(wait.prompt).strip()}"]
    if wait.context is not None:
        text = wait.context if isinstance(wait.context, str) else to_json(wait.context, indent=2)
        cut = "\n… (cut; `stepwell show --output json` has all of it)" if len(text) > MAX_CONTEXT else ""
        lines.append(block(text[:MAX_CONTEXT] + cut, "    "))
    if wait.kind != "approval":
        lines += [f"  {n}) {one_line(label)}" for n, (_, label) in enumerate(_options(wait), start=1)]
    return "\n".join(lines)


def prompt_text(wait: Wait) -> str:
    """Return what stands before the cursor."""
    if wait.kind == "approval":
        wider = "; `y run`, `y workflow` or `y always` approves more than this call" if wait.options else ""
        return f"Approve? [y/n; `n why` rejects with a reason{wider}; Ctrl-D leaves it open] "
    if not _options(wait):
        return "Answer: "
    several = wait.input_type == "multiselect"
    return "Numbers, with commas between: " if several else "Number: "


def read_reply(wait: Wait, typed: str) -> Decided:
    """Return the decision that was typed.

    Raises:
        InvalidArguments: it is none; the message says what would be.
    """
    text = typed.strip()
    if wait.kind == "approval":
        return _read_approval(text, {name for name, _ in _options(wait)})
    options = _options(wait)
    if wait.input_type == "multiselect":
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return Decided("answer", [_choose(part, options, wait) for part in parts])
    if not options:
        return Decided("answer", _blank_is_none(wait, text))
    if not text and wait.skippable:
        return Decided("answer", None)
    return Decided("answer", _choose(text, options, wait))


def _read_approval(text: str, scopes: set[str]) -> Decided:
    word, _, rest = text.partition(" ")
    if word.lower() in _YES and rest.strip().lower() in scopes:
        return Decided("approve", scope=rest.strip().lower())
    if word.lower() in _YES:
        return Decided("approve", reason=rest.strip())
    if word.lower() in _NO:
        return Decided("reject", reason=rest.strip())
    raise InvalidArguments("Type y to approve or n to reject.")


def _choose(text: str, options: list[tuple[str, str]], wait: Wait) -> str:
    if text.isascii() and text.isdigit() and 0 < int(text[:6]) <= len(options):
        return options[int(text[:6]) - 1][0]
    for ident, label in options:
        if text.lower() in (ident.lower(), label.lower()):
            return ident
    if wait.input_type == "approval" and text.lower() in _YES | _NO:
        return "approve" if text.lower() in _YES else "reject"
    if wait.allow_custom and text:
        return text
    raise InvalidArguments(f"Type a number from 1 to {len(options)}.")


def _options(wait: Wait) -> list[tuple[str, str]]:
    listed: tuple[JsonObject, ...] = wait.options
    return [(str(option.get("id")), str(option.get("label") or option.get("id"))) for option in listed]


def _blank_is_none(wait: Wait, text: str) -> str | None:
    if text:
        return text
    if wait.skippable:
        return None
    raise InvalidArguments("Type an answer.")
