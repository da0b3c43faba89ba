"""One thing that `stepwell doctor` looked at."""

from dataclasses import dataclass, field
from typing import Literal

from stepwell.model import JsonObject

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found."""

    name: str
    verdict: Verdict
    """`fail`: workflows cannot be stored or run; `warn`: something is missing or weaker than it could be."""
    text: str
    mend: str = ""
    details: JsonObject = field(default_factory=dict[str, object])
