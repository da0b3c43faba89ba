"""The operator's rules over tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, TypeVar

from stepwell.ports import ToolSpec

Policy: TypeAlias = Literal["allow", "approve", "deny"]
InDoubt: TypeAlias = Literal["ask", "retry", "fail"]
T = TypeVar("T")


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

    def apply(self, spec: ToolSpec) -> ToolSpec:
        """Return the tool as workflows get it. Destructive tools need approval unless a rule says otherwise."""
        policy = _last_match(self.policy, spec.name) or ("approve" if spec.destructive else "allow")
        rule = _last_match(self.in_doubt, spec.name)
        if rule is None:
            return replace(spec, policy=policy)
        if rule.action == "retry":
            return replace(spec, policy=policy, idempotent=spec.idempotent or not spec.read_only)
        return replace(spec, policy=policy, read_only=False, idempotent=False, on_doubt=rule.action, ask_s=rule.ask_s)


def _last_match(patterns: Mapping[str, T], name: str) -> T | None:
    found: T | None = None
    for pattern, value in patterns.items():
        if fnmatchcase(name, pattern):
            found = value
    return found
