"""The operator's rules over tools."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, TypeVar, get_args

from stepwell.model import Json, JsonObject
from stepwell.ports import Caller, CallLimit, ToolSpec
from stepwell.ports.tools import CallContext, KeyPlace, Policy

Approvals: TypeAlias = Literal["any", "person"]
"""Who may approve and answer: the client on its user's word too, or only a person in a form or at a terminal."""
InDoubt: TypeAlias = Literal["ask", "retry", "fail"]
T = TypeVar("T")

WORKFLOW = re.compile(r"[A-Za-z0-9_*?]+(@[0-9a-f]{12,64})?")
"""`deploy`, `report_*`, or `deploy@3f2a91c0aa11`: one version of it, by the beginning of its hash."""

_STRICTNESS: dict[Policy, int] = {policy: n for n, policy in enumerate(get_args(Policy))}


@dataclass(frozen=True, slots=True)
class DoubtRule:
    """What becomes of a call that was sent and not answered."""

    action: InDoubt
    """Somebody decides; it is made again; the workflow gets an error."""
    ask_s: float | None = None
    """With `ask`: fail after so many seconds without a decision."""


@dataclass(frozen=True, slots=True)
class ToolRules:
    """Patterns over dotted names; of those that match, the last one counts."""

    policy: Mapping[str, Policy] = field(default_factory=dict[str, Policy])
    in_doubt: Mapping[str, DoubtRule] = field(default_factory=dict[str, DoubtRule])
    keys: Mapping[str, KeyPlace] = field(default_factory=dict[str, KeyPlace])
    """Where tools take the idempotency key; such a call may be repeated."""
    workflows: Mapping[str, Mapping[str, Policy]] = field(default_factory=dict[str, Mapping[str, Policy]])
    """Rules of single workflows, by `WORKFLOW`."""
    approvals: Approvals = "any"
    workflow_approvals: Mapping[str, Approvals] = field(default_factory=dict[str, Approvals])
    """Of single workflows, by `WORKFLOW`."""
    dynamic: bool = False
    """Whether workflows may call tools that their source does not name."""
    unlisted: Literal["ask", "deny"] = "ask"
    """What becomes of a call to a host that is not on the list."""
    limits: Mapping[str, CallLimit] = field(default_factory=dict[str, CallLimit])
    """By patterns; all that match count."""
    ask_s: float | None = None
    """How long a person is asked for an approval."""
    use_s: float | None = None
    """How old an approval may be when it is used."""

    def apply(self, spec: ToolSpec) -> ToolSpec:
        """Return the tool as workflows get it. Destructive tools need approval unless a rule says otherwise."""
        policy = _last_match(self.policy, spec.name) or ("approve" if spec.destructive else "allow")
        rule = _last_match(self.in_doubt, spec.name)
        place = self._key_place(spec)
        if place is not None and _takes_key(spec, place):
            spec = keyed(spec, place)
        if rule is None:
            return replace(spec, policy=policy)
        if rule.action == "retry":
            return replace(spec, policy=policy, idempotent=spec.idempotent or not spec.read_only)
        return replace(spec, policy=policy, read_only=False, idempotent=False, on_doubt=rule.action, ask_s=rule.ask_s)

    def loses_key(self, spec: ToolSpec) -> bool:
        """Whether the tool cannot take the idempotency key where a rule says; it is then as without that rule."""
        place = self._key_place(spec)
        return place is not None and not _takes_key(spec, place)

    def _key_place(self, spec: ToolSpec) -> KeyPlace | None:
        return None if spec.read_only else _last_match(self.keys, spec.name)

    def policy_for(self, spec: ToolSpec, caller: Caller) -> Policy:
        """Return the policy of a tool, as `apply` gave it, for one workflow.

        A name is chosen by whoever stores workflows, so rules of a name only make the policy stricter. A rule of one
        version, which nobody can change, counts as it is.
        """
        policy = spec.policy
        for pattern, rules in self.workflows.items():
            given = _last_match(rules, spec.name)
            if given is None or not _covers(pattern, caller):
                continue
            if "@" in pattern:
                return given
            policy = max(policy, given, key=_STRICTNESS.__getitem__)
        return policy

    def limits_of(self, name: str) -> dict[str, CallLimit]:
        """Return the limits that count a call of the tool."""
        return {pattern: limit for pattern, limit in self.limits.items() if fnmatchcase(name, pattern)}

    def approvals_for(self, caller: Caller) -> Approvals:
        """Return who may approve what one workflow asks for; rules of a name and of a version as in `policy_for`."""
        approvals = self.approvals
        for pattern, given in self.workflow_approvals.items():
            if _covers(pattern, caller):
                if "@" in pattern:
                    return given
                approvals = "person" if given == "person" else approvals
        return approvals


def keyed(spec: ToolSpec, place: KeyPlace) -> ToolSpec:
    """Return the tool that takes the idempotency key there; an argument for it is no longer the workflow's."""
    schema = spec.schema
    if place.kind == "argument":
        known: JsonObject = schema.get("properties") or {}
        required: list[Json] = [name for name in schema.get("required") or [] if name != place.name]
        shown = {name: each for name, each in known.items() if name != place.name}
        schema = schema | {"properties": shown, "required": required}
    return replace(spec, schema=schema, idempotent=True, key_place=place)


def _takes_key(spec: ToolSpec, place: KeyPlace) -> bool:
    if place.kind == "argument":
        return place.name in (spec.schema.get("properties") or {})
    return place.kind in spec.takes_key


def with_key(spec: ToolSpec, arguments: JsonObject, context: CallContext) -> tuple[JsonObject, CallContext]:
    """Return arguments and context with the idempotency key where the tool takes it."""
    place, key = spec.key_place, context.idempotency_key
    if place is None:
        return arguments, context
    match place.kind:
        case "argument":
            return arguments | {place.name: key}, context
        case "header":
            return arguments, replace(context, headers={**context.headers, place.name: key})
        case "meta":
            return arguments, replace(context, meta={**context.meta, place.name: key})


def names_tool(tools: tuple[str, ...] | None, name: str) -> bool:
    """Whether a source that names these tools and groups names that tool."""
    return tools is None or any(name == tool or name.startswith(f"{tool}.") for tool in tools)


def _covers(pattern: str, caller: Caller) -> bool:
    name, _, version = pattern.partition("@")
    return fnmatchcase(caller.workflow, name) and caller.version.startswith(version)


def _last_match(patterns: Mapping[str, T], name: str) -> T | None:
    found: T | None = None
    for pattern, value in patterns.items():
        if fnmatchcase(name, pattern):
            found = value
    return found
