"""Whether a structured result is what its tool declares."""

import asyncio

from stepwell.model import Json, JsonObject
from stepwell.tools.misfits import list_misfits, shown
from stepwell.tools.validating import CheckedSchema

SMALL_PARTS = 500  # of a result that is checked on the event loop; longer ones in a thread


class OutputCheck:
    """The output schema of one tool."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = CheckedSchema(schema)

    async def misfits(self, result: JsonObject) -> str:
        """Return what does not fit; empty if all does, as far as that can be found out in time."""
        value: Json = result.get("structuredContent")
        if value is None:
            return "it has no structured content"
        if _is_small(value):
            return self._misfits(value)
        return await asyncio.to_thread(self._misfits, value)

    def _misfits(self, value: Json) -> str:
        return shown(list_misfits(self._schema, value))


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
