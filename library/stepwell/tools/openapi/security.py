"""How a service wants to know who calls, and what the operator has given for that."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stepwell.model import Json, JsonObject
from stepwell.tools.openapi.schemas import resolved
from stepwell.tools.openapi.styles import Pair

Needs = tuple[tuple[str, ...], ...]
"""Alternatives, each the schemes that go together; an empty one: nobody need say who calls."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to say who calls."""

    kind: Literal["key", "bearer", "basic"]
    place: Literal["header", "query", "cookie"] = "header"
    name: str = "Authorization"


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes along with a request."""

    headers: dict[str, str] = field(default_factory=dict[str, str])
    query: list[Pair] = field(default_factory=list[Pair])
    cookies: list[Pair] = field(default_factory=list[Pair])


def read_schemes(document: JsonObject) -> dict[str, Scheme | str]:
    """Return the document's schemes by name; for one that is not supported, what it is."""
    components = document.get("components")
    given: Json = components.get("securitySchemes") if isinstance(components, dict) else None
    return {name: _scheme(resolved(document, each)) for name, each in (given or {}).items()}


def read_needs(document: JsonObject, operation: JsonObject, schemes: Mapping[str, Scheme | str] | None) -> Needs:
    """Return what an operation wants; of what is not supported nothing is said where `schemes` is None.

    Raises:
        ValueError: it wants only what is not supported.
    """
    given: Json = operation["security"] if "security" in operation else document.get("security")
    alternatives = [tuple(each) for each in given or []]
    if schemes is None:
        return tuple(alternatives)
    known = [each for each in alternatives if all(isinstance(schemes.get(name), Scheme) for name in each)]
    if alternatives and not known:
        name = next(name for name in alternatives[0] if not isinstance(schemes.get(name), Scheme))
        raise ValueError(f"its security scheme {name!r} ({schemes.get(name, 'not described')}) is not supported")
    return tuple(known)


def choose(needs: Needs, configured: Sequence[str]) -> tuple[str, ...] | None:
    """Return the schemes of the first alternative for which the operator has given all; None if there is none."""
    fitting = (each for each in sorted(needs, key=len, reverse=True) if all(name in configured for name in each))
    return next(fitting, None)


def prove(schemes: Mapping[str, Scheme], values: Mapping[str, str]) -> Proof:
    """Return what says who calls, from the operator's values by scheme."""
    proof = Proof()
    for name, value in values.items():
        scheme = schemes[name]
        match scheme.kind, scheme.place:
            case "basic", _:
                proof.headers[scheme.name] = f"Basic {base64.b64encode(value.encode()).decode()}"
            case "bearer", _:
                proof.headers[scheme.name] = f"Bearer {value}"
            case _, "query":
                proof.query.append((scheme.name, value))
            case _, "cookie":
                proof.cookies.append((scheme.name, value))
            case _:
                proof.headers[scheme.name] = value
    return proof


def _scheme(given: JsonObject) -> Scheme | str:
    match given.get("type"):
        case "apiKey" if given.get("in") in ("header", "query", "cookie") and isinstance(given.get("name"), str):
            return Scheme("key", given["in"], given["name"])
        case "http" if str(given.get("scheme")).lower() == "bearer":
            return Scheme("bearer")
        case "http" if str(given.get("scheme")).lower() == "basic":
            return Scheme("basic")
        case "http":
            return f"http {given.get('scheme')}"
        case "oauth2" | "openIdConnect":
            return Scheme("bearer")
        case other:
            return str(other)
