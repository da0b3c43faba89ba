"""Creating a workflow, or preparing code that is not stored, also where packages take long to install."""

from stepwell.catalog.catalog import Created
from stepwell.model import JsonObject
from stepwell_server.surface.arguments import CreateWorkflow
from stepwell_server.surface.preparing import Preparing, patiently
from stepwell_server.surface.table import Call

_PACKAGES = "/// script"
"""In every source that declares some."""


async def create(call: Call, given: CreateWorkflow, source: str) -> Created | JsonObject:
    """Store a workflow; where its packages are still being installed, return what to say instead.

    Raises:
        RequestError: it cannot be stored.
        PackagesUnavailable: its packages cannot be installed now.
    """
    created = await patiently(
        call,
        lambda tell: call.app.catalog.create(
            given.name,
            source,
            description=given.description,
            intents=given.intents,
            tags=given.tags,
            replace=given.replace,
            entry=given.entry,
            dry_run=given.dry_run,
            origin=f"run:{given.from_run}" if given.from_run else "client",
            tell=tell,
        ),
    )
    if not isinstance(created, Preparing):
        return created
    return {"created": False, "name": given.name} | _call_again("create_workflow", created)


async def prepare_code(call: Call, code: str) -> JsonObject | None:
    """Install what code declares, without starting it; return what to say where that takes longer than a call.

    Raises:
        InvalidSource: it does not parse or crosses a limit.
        PackageRefused, PackagesUnavailable: a package that it declares cannot be had.
    """
    if _PACKAGES not in code:
        return None
    version = call.app.catalog.analyse_code(code)
    prepared = await patiently(call, lambda tell: call.app.catalog.add_version(version, tell))
    return None if prepared is None else _call_again("run_code", prepared)


def _call_again(tool: str, preparing: Preparing) -> JsonObject:
    again = f"Call {tool} again with the same arguments: it takes up where this one was."
    return {"preparing": preparing.said, "next": f"Its packages are being installed. {again}"}
