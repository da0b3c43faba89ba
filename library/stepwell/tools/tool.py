"""What every source of tools gives to the toolbox."""

from typing import Protocol

from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext, ToolSpec


class OutcomeUnknown(Exception):
    """The call was made and its answer was lost: it may have had its effect."""


class Tool(Protocol):
    """One callable tool."""

    @property
    def spec(self) -> ToolSpec:
        """Its description, before the operator's rules."""
        ...

    def check(self, arguments: JsonObject) -> None:
        """Refuse arguments that fit the schema and may not be used, without reaching out.

        Hosts that are not on the operator's list are not refused here: see `hosts`.

        Raises:
            ToolFailure: code `invalid_arguments` or `not_allowed`.
        """
        ...

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return the hosts that the arguments name, as `read_url` has them; none where the operator has chosen them.

        One that is not on the operator's list is put to a person before `call`, which finds it in `context.hosts`.
        """
        ...

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Make the call; `spec` is the tool under the operator's rules.

        Raises:
            ToolFailure: the tool answered with an error, or the call can be repeated and no answer came.
            OutcomeUnknown: the call cannot be repeated and no answer came.
        """
        ...
