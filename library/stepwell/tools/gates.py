"""What a person must allow before a call leaves."""

import hashlib
import ipaddress
import json
from collections.abc import Iterable

from stepwell.errors import ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.ports import Gate, Subject, ToolSpec
from stepwell.tools.messages import failure
from stepwell.tools.network import NetworkPolicy, Refused
from stepwell.tools.rules import Approvals, ToolRules


def make_gate(
    spec: ToolSpec,
    arguments: JsonObject,
    hosts: Iterable[str],
    network: NetworkPolicy,
    rules: ToolRules,
    approvals: Approvals,
) -> Gate | None:
    """Return the gate before a call that names these hosts; None if nothing is to be asked.

    Raises:
        ToolFailure: code `not_allowed`: it names a host that no person can allow.
    """
    unlisted = [host for host in dict.fromkeys(hosts) if not network.lists(host)]
    for host in unlisted:
        _check_askable(spec, host, network, rules)
    subjects = [Subject("host", host) for host in unlisted]
    asked = f"Allow {spec.name} to reach {' and '.join(unlisted)}?"
    if spec.policy in ("approve", "person"):
        subjects.insert(0, Subject("tool", spec.name, _digest(spec, arguments)))
        asked = f"Allow the tool {spec.name}" + (f", and to reach {' and '.join(unlisted)}?" if unlisted else "?")
    person = "person" in (spec.policy, approvals)
    return Gate(asked, tuple(subjects), rules.ask_s, rules.use_s, person) if subjects else None


def make_redirect_gate(spec: ToolSpec, host: str, network: NetworkPolicy, rules: ToolRules) -> Gate:
    """Return the gate before a call that was redirected to a host goes there.

    Raises:
        ToolFailure: code `not_allowed`: no person can allow the host.
    """
    _check_askable(spec, host, network, rules)
    asked = f"Allow {spec.name} to follow a redirect to {host}?"
    return Gate(asked, (Subject("host", host),), rules.ask_s, rules.use_s, person=True)


def changed(spec: ToolSpec) -> ToolFailure:
    """Return the error of a call that was approved for a tool which is another one now."""
    return failure(
        spec.name,
        f"{spec.name}: the tool's definition has changed since the call was approved; nothing was sent",
        code="not_allowed",
        hint="resume_run asks for an approval of what it is now.",
    )


def undeclared(spec: ToolSpec, declared: tuple[str, ...]) -> ToolFailure:
    """Return the error of a call of a tool that the workflow's source does not name."""
    named = ", ".join(declared[:20]) or "none"
    return failure(
        spec.name,
        f"{spec.name}: the workflow's source does not name this tool; it names: {named}",
        code="not_declared",
        hint=f"Write tools.{spec.name}(...) in the source. The operator can allow calls by a computed name in "
        "stepwell.toml: [policy] dynamic_tools = true.",
    )


def _check_askable(spec: ToolSpec, host: str, network: NetworkPolicy, rules: ToolRules) -> None:
    refused = network.not_listed(host) if rules.unlisted == "deny" else _refused_address(network, host)
    if refused is not None:
        raise refused.as_failure(spec.name)


def _refused_address(network: NetworkPolicy, host: str) -> Refused | None:
    """Nobody is asked about an address to which no connection would be made."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if network.allows_address(host) else network.not_listed(host)


def _digest(spec: ToolSpec, arguments: JsonObject) -> str:
    # The definition is part of it: a server that changes what a tool does has no approval for that.
    definition: Json = [spec.name, spec.description, spec.schema, spec.read_only, spec.idempotent, spec.destructive]
    text = json.dumps([definition, arguments], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
