"""A question to a person as a form of the client, and the form's answer as a decision."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mcp.types import ElicitRequestFormParams, ElicitResult

from stepwell.engine import Engine
from stepwell.errors import Conflict
from stepwell.model import Json, JsonObject, Run, Wait
from stepwell_server.surface.replies import dump, shorten

ASKED_KINDS = ("approval", "input")
ANSWER = "answer"
CUSTOM = "other"
NOTE = "note"
SCOPE = "scope"
MAX_PROMPT = 2000  # characters shown of the prompt
MAX_CONTEXT = 4000  # and of the value to be approved
MAX_OPTIONS = 100
MAX_DEPTH = 16  # of runs that invoke runs
TITLED_LISTS = "2025-11-25"  # the first protocol version whose forms have titled options and lists
DEFAULT_CHOICES: tuple[JsonObject, ...] = (
    {"id": "approve", "label": "Approve"},
    {"id": "reject", "label": "Reject"},
)


@dataclass(frozen=True, slots=True)
class Decided:
    """What a person said: arguments of `Engine.decide`."""

    decision: Literal["approve", "reject", "answer"]
    value: Json = None
    reason: str = ""
    scope: str = "once"


@dataclass(frozen=True, slots=True)
class Question:
    """An open wait that a person can end."""

    run: Run
    """The run that asks: the one waited for, or one that it invoked."""
    wait: Wait


async def find_question(engine: Engine, run: Run, depth: int = 0) -> Question | None:
    """Return the first open question of the run or of those that it waits for."""
    for wait in run.waiting_for:
        if wait.kind in ASKED_KINDS:
            return Question(run, wait)
        if wait.kind == "child" and depth < MAX_DEPTH:
            found = await find_question(engine, await engine.get(wait.context["run_id"]), depth + 1)
            if found is not None:
                return found
    return None


def question_form(question: Question, protocol: str | None) -> ElicitRequestFormParams:
    """Return the form that asks; `protocol` is the client's version."""
    schema = _schema(question.wait, protocol)
    return ElicitRequestFormParams(message=_message(question.run, question.wait), requested_schema=schema)


def read_answer(wait: Wait, result: ElicitResult) -> Decided | None:
    """Return the decision; None where the person made none that the question knows."""
    content = result.content or {}
    if result.action == "cancel":
        return None
    if result.action == "decline":
        return _declined(wait)
    if wait.kind == "approval":
        return Decided("approve", reason=str(content.get(NOTE) or ""), scope=str(content.get(SCOPE) or "once"))
    return Decided("answer", _answer(wait, content))


def _declined(wait: Wait) -> Decided | None:
    if wait.kind == "approval":
        return Decided("reject", reason="declined in the client")
    if wait.input_type == "approval" and (
        not wait.options or any(option.get("id") == "reject" for option in wait.options)
    ):
        return Decided("answer", "reject")
    return Decided("answer", None) if wait.skippable else None


def _answer(wait: Wait, content: dict[str, Any]) -> Json:
    custom = content.get(CUSTOM)
    if wait.allow_custom and isinstance(custom, str) and custom.strip():
        return [custom] if wait.input_type == "multiselect" else custom
    answer = content.get(ANSWER)
    if wait.input_type == "multiselect" and isinstance(answer, str):
        return [part.strip() for part in answer.split(",") if part.strip()]
    if wait.skippable and answer in ("", []):
        return None
    return answer


def _message(run: Run, wait: Wait) -> str:
    asks = "needs an approval" if wait.kind == "approval" else "asks"
    parts = [f"Workflow {run.workflow} {asks} (run {run.id})", shorten(wait.prompt, MAX_PROMPT)]
    if wait.context is not None:
        context = (
            wait.context if isinstance(wait.context, str) else json.dumps(json.loads(dump(wait.context)), indent=2)
        )
        parts.append(shorten(context, MAX_CONTEXT))
    return "\n\n".join(part for part in parts if part)


def _schema(wait: Wait, protocol: str | None) -> JsonObject:
    modern = (protocol or "") >= TITLED_LISTS
    if wait.kind == "approval":
        note = {"type": "string", "title": "Note", "description": "Optional; kept with the decision"}
        scopes = {SCOPE: _choice("Approve", wait.options, modern=modern)} if wait.options else {}
        return {"type": "object", "properties": scopes | {NOTE: note}}
    properties: JsonObject = {ANSWER: _field(wait, modern=modern)}
    required = [] if wait.skippable or wait.allow_custom else [ANSWER]
    if wait.allow_custom:
        properties[CUSTOM] = {"type": "string", "title": "Other", "description": "Instead of an option"}
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _field(wait: Wait, *, modern: bool) -> JsonObject:
    choices = wait.options or (DEFAULT_CHOICES if wait.input_type == "approval" else ())
    shown = [(str(option.get("id")), str(option.get("label") or option.get("id"))) for option in choices[:MAX_OPTIONS]]
    if not shown or wait.input_type == "text":
        return {"type": "string", "title": "Answer"}
    if wait.input_type == "multiselect":
        if modern:
            titled = [{"const": name, "title": label} for name, label in shown]
            return {"type": "array", "title": "Answer", "items": {"anyOf": titled}}
        ids = ", ".join(name for name, _ in shown)
        return {"type": "string", "title": "Answer", "description": f"One or more of {ids}, with commas between"}
    return _choice("Answer", choices[:MAX_OPTIONS], modern=modern)


def _choice(title: str, options: Sequence[JsonObject], *, modern: bool) -> JsonObject:
    shown = [(str(option.get("id")), str(option.get("label") or option.get("id"))) for option in options]
    field: JsonObject = {"type": "string", "title": title}
    if modern:
        return field | {"oneOf": [{"const": name, "title": label} for name, label in shown]}
    return field | {"enum": [name for name, _ in shown], "enumNames": [label for _, label in shown]}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client carries from a question to its answer; sealed on its way, so that it can be trusted."""

    run_id: str
    """The run that is waited for."""
    asking_id: str
    """The run that asks."""
    key: str
    digest: str
    left_s: float
    """Seconds of waiting that the call has left."""
    rounds: int
    """Questions that this call has asked."""

    def dump(self) -> str:
        """Return it as the plain text of `requestState`."""
        return json.dumps([self.run_id, self.asking_id, self.key, self.digest, self.left_s, self.rounds])

    @classmethod
    def load(cls, state: str) -> "Asked":
        """Read what `dump` gave.

        Raises:
            Conflict: another version of this server made it.
        """
        try:
            run_id, asking_id, key, digest, left_s, rounds = json.loads(state)
            return cls(str(run_id), str(asking_id), str(key), str(digest), float(left_s), int(rounds))
        except (ValueError, TypeError):
            raise Conflict(
                "This question was asked by another version of the server.", hint="Make the call again."
            ) from None

    def find(self, asking: Run) -> Question | None:
        """Return the question if it is still the one that was asked."""
        for wait in asking.waiting_for:
            if wait.key == self.key and wait.digest == self.digest and wait.kind in ASKED_KINDS:
                return Question(asking, wait)
        return None
