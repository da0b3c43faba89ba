"""The operator's rules over tools."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, TypeVar

from stepwell.ports import ToolSpec

Policy: TypeAlias = Literal["allow", "approve", "deny"]
InDoubt: TypeAlias = Literal["retry", "ask"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ToolRules:
    """Patterns over dotted names; of those that match, the last one counts."""

    policy: Mapping[str, Policy] = field(default_factory=dict[str, Policy])
    in_doubt: Mapping[str, InDoubt] = field(default_factory=dict[str, InDoubt])
    """Whether a call whose answer was lost is made again, or a person decides."""

    def apply(self, spec: ToolSpec) -> ToolSpec:
        """Return the tool as workflows get it. Destructive tools need approval unless a rule says otherwise."""
        policy = _last_match(self.policy, spec.name) or ("approve" if spec.destructive else "allow")
        match _last_match(self.in_doubt, spec.name):
            case "retry" if not spec.read_only:
                return replace(spec, policy=policy, idempotent=True)
            case "ask":
                return replace(spec, policy=policy, read_only=False, idempotent=False)
            case _:
                return replace(spec, policy=policy)


def _last_match(patterns: Mapping[str, T], name: str) -> T | None:
    found: T | None = None
    for pattern, value in patterns.items():
        if fnmatchcase(name, pattern):
            found = value
    return found
