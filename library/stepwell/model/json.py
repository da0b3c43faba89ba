"""JSON as a type."""

from typing import Any, TypeAlias

# A recursive alias makes every isinstance chain unreadable to the checkers; `Any` here means "decoded JSON".
Json: TypeAlias = Any
JsonObject: TypeAlias = dict[str, Any]
