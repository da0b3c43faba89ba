"""What workflows may ask of the catalogue and of the tool list: `workflows.list()`, `tools.search(...)`, ..."""

from typing import Any

from stepwell.catalog.catalog import Catalog
from stepwell.engine import Engine
from stepwell.errors import InvalidArguments, NotFound
from stepwell.model import Json, JsonObject
from stepwell.model.aside import Aside
from stepwell.ports import AgentSettings, Models, ToolHost, ToolSpec
from stepwell.tools import signature
from stepwell_server.results import workflow_result, workflow_summary
from stepwell_server.tool_help import help_text

MAX_RESULTS = 50
SUMMARY_BYTES = 200  # of one tool, about


class Functions:
    """Implements the engine's `HostFunctions`."""

    def __init__(self, catalog: Catalog, tools: ToolHost, models: Models) -> None:
        self._catalog = catalog
        self._tools = tools
        self._models = models
        self._aside = Aside()
        self.engine: Engine | None = None
        """Set once the engine is there: events need it."""

    async def query(self, name: str, kwargs: JsonObject) -> Json:
        """Answer a function without effects.

        Raises:
            InvalidArguments: an argument is missing or of the wrong type, or there is no such function.
        """
        match name:
            case "workflows.list":
                page = await self._catalog.list(limit=200)
                return [workflow_summary(workflow) for workflow in page.items]
            case "workflows.search":
                found = await self._catalog.search(_text(kwargs, "query"), _limit(kwargs))
                return [workflow_summary(hit.workflow) | {"score": hit.score} for hit in found.items]
            case "workflows.get":
                workflow = await self._catalog.find(_text(kwargs, "name"))
                return None if workflow is None else workflow_result(workflow, source=True)
            case "tools.list":
                prefix = await self._prepare(kwargs)
                specs = self._tools.list_tools()
                under = [s for s in specs if not prefix or s.name.startswith(f"{prefix}.")]
                return await self._aside.run(SUMMARY_BYTES * len(under), lambda: [tool_summary(s) for s in under])
            case "tools.help":
                return await help_text(self._tools, _text(kwargs, "name"))
            case "tools.search":
                prefix = await self._prepare(kwargs)
                tools = await self._tools.search_tools(_text(kwargs, "query"), _limit(kwargs), prefix)
                return [tool_summary(hit.spec) | {"score": hit.score} for hit in tools.items]
            case "agents.list":
                return [agent_summary(agent) for agent in self._models.list_agents()]
            case "agents.overrides":
                return dict(self._models.list_overrides())
            case _:
                raise NotFound(f"there is no function {name!r}")

    async def act(self, name: str, kwargs: JsonObject, run_id: str, idempotency_key: str) -> Json:
        """Do something that gives the same result a second time.

        Raises:
            RequestError: what was asked for is wrong.
        """
        match name:
            case "workflows.create":
                return await self._create(kwargs, run_id)
            case "workflows.delete":
                return await self._catalog.delete(_text(kwargs, "name"))
            case "events.emit" if self.engine is not None:
                receiver = None if kwargs.get("run_id") is None else _text(kwargs, "run_id")
                name, payload = _text(kwargs, "name"), kwargs.get("payload")
                return (await self.engine.emit(name, payload, idempotency_key, run_id=receiver)).event_id
            case _:
                raise NotFound(f"there is no function {name!r}")

    async def _prepare(self, kwargs: JsonObject) -> str:
        prefix = "" if kwargs.get("prefix") is None else _text(kwargs, "prefix")
        await self._tools.prepare(prefix.partition(".")[0])
        return prefix

    async def _create(self, kwargs: JsonObject, run_id: str) -> Json:
        created = await self._catalog.create(
            _text(kwargs, "name"),
            _text(kwargs, "source"),
            description=kwargs.get("description"),
            replace=kwargs.get("replace") is True,
            origin=f"run:{run_id}",
        )
        summary = workflow_summary(created.workflow)
        params: list[Any] = [parameter.name for parameter in created.workflow.version.parameters]
        return summary | {"params": params, "warnings": [warning.message for warning in created.warnings]}


def agent_summary(agent: AgentSettings) -> JsonObject:
    """Return an agent of the configuration as models see it, with a call to paste."""
    return {
        "name": agent.name,
        "description": agent.description or agent.instructions[:200],
        "call": f"agents.{agent.name}(prompt: str) -> AgentResult",
        "model": agent.model,
        "tools": list(agent.tools),
    }


def tool_summary(spec: ToolSpec) -> JsonObject:
    """Return a tool as models see it, with a call to paste."""
    return {
        "name": spec.name,
        "description": spec.description,
        "call": f"tools.{signature(spec)}",
        "returns": spec.returns,
        "read_only": spec.read_only,
        "policy": spec.policy,
    } | ({"origin": spec.origin} if spec.origin else {})


def _text(kwargs: JsonObject, name: str) -> str:
    value = kwargs.get(name)
    if not isinstance(value, str):
        raise InvalidArguments(f"{name} is text, not {type(value).__name__}")
    return value


def _limit(kwargs: JsonObject) -> int:
    value = kwargs.get("limit", 5)
    if not isinstance(value, int) or not 1 <= value <= MAX_RESULTS:
        raise InvalidArguments(f"limit is a whole number from 1 to {MAX_RESULTS}")
    return value
