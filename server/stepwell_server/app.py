"""The composition root: the only place that puts the parts together."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stepwell.catalog.catalog import Catalog
from stepwell.catalog.folder import FolderWatch
from stepwell.catalog.indexing import Indexing, open_index
from stepwell.engine import Engine, open_engine
from stepwell.engine.memory import Memory
from stepwell.engine.retention import collecting
from stepwell.models import ModelHost
from stepwell.packages import Environments, Shelf
from stepwell.store.database import Database, open_database
from stepwell.tools import NetworkPolicy, Secrets, Toolbox, open_toolbox
from stepwell.tools.ranking import Meanings
from stepwell_sandbox.memory import available_bytes
from stepwell_sandbox.open import open_sandbox
from stepwell_sandbox.sandbox import ConfinedSandbox
from stepwell_server.functions import Functions
from stepwell_server.home import Home, find_home, open_home
from stepwell_server.model_settings import model_host
from stepwell_server.settings import Settings, load_settings

MEMORY_SHARE = 0.75
"""Of what is available when a server starts."""


@dataclass(frozen=True, slots=True)
class App:
    """One open home."""

    home: Home
    settings: Settings
    database: Database
    catalog: Catalog
    folder: FolderWatch
    indexing: Indexing
    tools: Toolbox
    models: ModelHost
    sandbox: ConfinedSandbox
    engine: Engine


def memory_budget(settings: Settings) -> int | None:
    """Return the bytes that all live runs of a process may use: as set, else most of what there is; None if unknown."""
    if settings.workers.memory_bytes is not None:
        return settings.workers.memory_bytes
    available = available_bytes()
    return None if available is None else int(available * MEMORY_SHARE)


@asynccontextmanager
async def open_app(
    home: str | Path | None = None, *, execute: bool = True, sandbox: ConfinedSandbox | None = None
) -> AsyncGenerator[App, None]:
    """Open a home. With `execute` this process works on its runs until the context closes, then hands them over.

    A `sandbox` that is given is used as it is, whatever the home's settings say, and stays open.

    Raises:
        ConfigError: `stepwell.toml` is wrong, or the home cannot be used.
        StoreError: the database cannot be opened.
    """
    place = open_home(find_home(None if home is None else str(home)))
    settings = load_settings(place.config)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(place.db))
        packages = await stack.enter_async_context(Environments(Shelf(place.environments), settings.packages.policy()))
        index, indexing = await stack.enter_async_context(
            open_index(database, settings.search.options(), place.search_lock, work=execute)
        )
        catalog = Catalog(database, settings.limits, packages, index=index, indexing=indexing)
        meanings = Meanings(indexing.models, database, indexing.expect)
        tools = await stack.enter_async_context(open_tools(place, settings, kept=place.listings, meanings=meanings))
        if sandbox is None:
            # Without runs to execute no process is kept ready.
            pool = settings.sandbox.pool if execute else 0
            sandbox = await stack.enter_async_context(
                open_sandbox(minimum=settings.sandbox.minimum, pool=pool, limits=settings.limits)
            )
        models = model_host(settings)
        stack.push_async_callback(models.close)
        functions = Functions(catalog, tools, models)
        engine = await stack.enter_async_context(
            open_engine(
                database,
                sandbox=sandbox,
                workflows=catalog,
                tools=tools,
                functions=functions,
                packages=packages,
                models=models,
                limits=settings.limits,
                artifacts=settings.artifacts.limits(),
                locks=place.path / "workers",
                slots=settings.workers.concurrency,
                memory=Memory(memory_budget(settings), settings.limits.memory_bytes, available_bytes),
                durability=settings.workers.durability,
                execute=execute,
            )
        )
        functions.engine = engine
        await stack.enter_async_context(collecting(database, settings.retention.ended_after if execute else None))
        folder = FolderWatch(catalog, place.workflows)
        yield App(place, settings, database, catalog, folder, indexing, tools, models, sandbox, engine)


def open_tools(
    place: Home, settings: Settings, *, kept: Path | None = None, meanings: Meanings | None = None
) -> AbstractAsyncContextManager[Toolbox]:
    """Open the tools of a home; listings of servers are `kept` in a folder."""
    return open_toolbox(
        place.tools,
        network=NetworkPolicy(settings.http.allow_hosts, settings.http.allow_private),
        rules=settings.tool_rules(),
        servers=[found.server(name) for name, found in settings.mcp_servers.items() if not found.disabled],
        apis=[found.api(name, place.path) for name, found in settings.openapi.items()],
        modules=[found.module_of(name, place.path) for name, found in settings.python.items()],
        kept=kept,
        secrets=Secrets(settings.secret_rules(place.path)),
        meanings=meanings,
    )
