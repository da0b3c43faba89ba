"""What the doctor says of search."""

from stepwell.errors import StepwellError
from stepwell.model import JsonObject
from stepwell.search.fetching import read_progress
from stepwell.search.loading import Models, SearchOptions
from stepwell.store.database import open_database
from stepwell.store.search_vectors import count_pending, list_models
from stepwell_server.cli.finding import Finding
from stepwell_server.home import Home
from stepwell_server.settings import Settings


async def search_findings(home: Home, settings: Settings) -> list[Finding]:
    """Say which model there is, how its download goes, and what it has not read yet."""
    options = settings.search.options()
    details: JsonObject = {"model": options.model, "folder": str(options.path or options.cache)}
    details |= await _index(home)
    placed = Models(options).place()
    if options.model == "none":
        return [Finding("search", "ok", "by words only, as configured", details=details)]
    if placed is None:
        return [_absent(options, details)]
    details["using"] = placed.model.name
    text = f"by meaning, with {placed.model.name}"
    if details.get("pending"):
        text += f"; {details['pending']} workflows wait until a server reads them"
    if options.path is None and options.wanted is not None and placed.model != options.wanted:
        return [
            Finding("search", "ok", text, details=details),
            _absent(options, details, f"{options.wanted.name} is not here yet"),
        ]
    return [Finding("search", "ok", text, details=details)]


def _absent(options: SearchOptions, details: JsonObject, text: str = "by words only: there is no model") -> Finding:
    if options.path is not None:
        return Finding("search", "warn", f"no model in {options.path}", "Mend [search] path.", details)
    model = options.wanted
    progress = None if model is None else read_progress(model, options.cache)
    if progress is not None and progress.state == "fetching":
        details["progress"] = {"megabytes": progress.megabytes, "of": progress.of_megabytes}
        return Finding(
            "search", "ok", f"{text}: {progress.megabytes:.0f} of {progress.of_megabytes} MB are here", details=details
        )
    if progress is not None and progress.state == "failed":
        text += f"; the last try to fetch it failed: {progress.error}"
    return Finding("search", "warn", text, "stepwell models pull fetches it; offline: make model.", details)


async def _index(home: Home) -> JsonObject:
    if not home.db.exists():
        return {}
    try:
        async with open_database(home.db) as database:
            pending = await database.read(count_pending)
            known = await database.read(list_models)
    except StepwellError:
        return {}  # said by the finding on the store
    return {"pending": pending, "indexed_with": {state: row.name for state, row in known.items()}}
