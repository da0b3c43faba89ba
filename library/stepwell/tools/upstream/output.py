"""Whether a structured result is what its tool declares."""

import asyncio
from dataclasses import dataclass

from stepwell.model import Json, JsonObject
from stepwell.tools.misfits import describe_misfit, shown
from stepwell.tools.validating import MAX_WORK, CheckedSchema

SMALL_PARTS = 500  # of a result that is checked on the event loop; longer ones in a thread


PARTLY = f"its result was compared with its outputSchema in part only: that has more than {MAX_WORK} rules to look at"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has found."""

    misfits: str = ""
    """Empty if all fits, as far as it was looked at."""
    whole: bool = True


class OutputCheck:
    """The output schema of one tool."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = CheckedSchema(schema)

    async def check(self, result: JsonObject) -> Checked:
        """Return what does not fit."""
        value: Json = result.get("structuredContent")
        if value is None:
            return Checked("it has no structured content")
        if _is_small(value):
            return self._check(value)
        return await asyncio.to_thread(self._check, value)

    def _check(self, value: Json) -> Checked:
        errors, whole = self._schema.find_errors(value)
        return Checked(shown([describe_misfit(error) for error in errors]), whole)


def _is_small(value: Json) -> bool:
    left, waiting = SMALL_PARTS, [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict | list):
            left -= len(part)
            if left < 0:
                return False
            waiting += part.values() if isinstance(part, dict) else part
    return True
