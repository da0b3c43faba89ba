"""What `stepwell doctor` says of third-party packages."""

from stepwell.errors import StepwellError
from stepwell.model import JsonObject
from stepwell.packages.installers import find_installer
from stepwell.store.database import open_database
from stepwell_server.cli.finding import Finding
from stepwell_server.environments import list_environments
from stepwell_server.home import Home
from stepwell_server.settings import Settings


async def package_findings(home: Home, settings: Settings) -> list[Finding]:
    """Return whether packages can be installed, and which environments there are."""
    return [_installer(settings), *await _environments(home)]


def _installer(settings: Settings) -> Finding:
    allowed = settings.packages.allow
    details: JsonObject = {"allow": list(allowed), "transitive": settings.packages.transitive}
    if not allowed:
        return Finding("packages", "ok", "workflows use the standard library alone; none are allowed", details=details)
    try:
        installer = find_installer()
    except StepwellError as error:
        return Finding("packages", "warn", error.message, error.hint, details)
    return Finding("packages", "ok", f"{', '.join(allowed)}; installed with {installer.name}", details=details)


async def _environments(home: Home) -> list[Finding]:
    if not home.environments.is_dir() or not home.db.exists():
        return []
    try:
        async with open_database(home.db) as database:
            listed = await list_environments(home, database)
    except StepwellError:  # the finding about the store says why
        return []
    shown = [
        {"id": item.id, "bytes": item.bytes, "packages": list(item.packages), "used": item in listed.used}
        for item in (*listed.used, *listed.unused)
    ]
    text = f"{len(shown)} environments, {listed.bytes / 2**20:.1f} MiB"
    details: JsonObject = {"environments": shown}
    if not listed.unused:
        return [Finding("packages", "ok", text, details=details)]
    text += f"; no version of a workflow uses {len(listed.unused)} of them"
    return [Finding("packages", "ok", text, "stepwell gc deletes what is not used.", details)]
