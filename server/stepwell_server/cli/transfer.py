"""`stepwell export` and `stepwell import`: workflows as files that fit into git."""

from dataclasses import dataclass
from pathlib import Path

import click

from stepwell.catalog.source import MAX_SOURCE_BYTES
from stepwell.catalog.transfer import MAX_HEADER, Exported, read_file, skill_name, write_file, write_skill
from stepwell.errors import InvalidSource, StepwellError
from stepwell.model import Workflow
from stepwell_server.app import App
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Exit, Invocation
from stepwell_server.cli.text import one_line
from stepwell_server.results import paste_call

PAGE = 200


@dataclass(frozen=True, slots=True)
class _Done:
    name: str
    what: str
    """`created`, `replaced`, `unchanged` or `refused`."""
    message: str = ""


@click.command(cls=Command, name="export")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--tag", help="Only those with this tag.")
@click.option("--skill", help="Write the workflow of this name as an Agent Skill, a folder in FOLDER.")
@click.pass_obj
def export_workflows(invocation: Invocation, folder: Path, tag: str | None, skill: str | None) -> None:
    """Write the stored workflows as files into FOLDER, one `NAME.py` each."""
    if skill is not None:
        workflow = in_app(invocation, lambda app: app.catalog.get(skill))
        place = folder / skill_name(workflow.name)
        files = write_skill(workflow, paste_call(workflow))
    else:
        place = folder
        files = {f"{item.name}.py": write_file(item) for item in in_app(invocation, lambda app: _all(app, tag))}
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Through another file: an interrupted export leaves whole files only.
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(text.encode())
        new.replace(path)
    count = f"{len(files)} file" + ("" if len(files) == 1 else "s")
    invocation.put({"folder": str(place), "files": sorted(files)}, f"{count} in {place}")


@click.command(cls=Command, name="import")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--replace", is_flag=True, help="Make new versions of workflows that exist and differ.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and store nothing.")
@click.pass_obj
def import_workflows(invocation: Invocation, folder: Path, replace: bool, dry_run: bool) -> int:
    """Store the workflows in FOLDER's `*.py` files, or the one in a file; exit code 1 if one was refused."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.glob("*.py") if path.name[0] not in "._")

    async def store(app: App) -> list[_Done]:
        return [await _store(app, path, replace=replace, dry_run=dry_run) for path in paths]

    done = in_app(invocation, store)
    data = {"workflows": [{"name": item.name, "done": item.what, "message": item.message} for item in done]}
    lines = [f"{item.what:<10}{item.name}  {one_line(item.message, 300)}".rstrip() for item in done]
    invocation.put(data, "\n".join(lines or [f"There are no workflows in {folder}."]))
    return Exit.FAILED if any(item.what == "refused" for item in done) else Exit.OK


async def _all(app: App, tag: str | None) -> list[Workflow]:
    found: list[Workflow] = []
    cursor: str | None = None
    while True:
        page = await app.catalog.list(PAGE, cursor, tag)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


async def _store(app: App, path: Path, *, replace: bool, dry_run: bool) -> _Done:
    try:
        said = _read(path)
        before = await app.catalog.find(path.stem)
        created = await app.catalog.create(
            path.stem,
            said.source,
            description=said.description,
            intents=said.intents,
            tags=said.tags,
            entry=said.entry,
            replace=replace,
            dry_run=dry_run,
            origin="import",
        )
        if not dry_run and said.pinned != created.workflow.pinned and (created.created or replace):
            await app.catalog.pin(path.stem, said.pinned)
    except StepwellError as error:
        return _Done(path.stem, "refused", f"{error.message} {error.hint}")
    kept = [warning.message for warning in created.warnings if warning.code == "not_updated"]
    if kept:
        return _Done(path.stem, "refused", "It is stored with other tags or intents: --replace takes the file's.")
    same = before is not None and (not created.created if not dry_run else before.version == created.workflow.version)
    return _Done(path.stem, "unchanged" if same else "replaced" if before is not None else "created")


def _read(path: Path) -> Exported:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SOURCE_BYTES + MAX_HEADER + 1)
        return read_file(data.decode())
    except OSError as error:
        raise InvalidSource(f"The file cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidSource(f"Byte {error.start} of the file is no UTF-8.", hint="Save it in that encoding.") from error
