"""`stepwell models`: those that agents use, and those that search compares meanings with."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from stepwell.errors import InvalidArguments
from stepwell.search.fetching import Progress, read_progress
from stepwell.search.loading import SearchOptions
from stepwell.search.models import PRESETS, Model, find_model, is_offline, list_names, place_folder, place_model
from stepwell_server.cli.commands import Command, Entry, LazyGroup
from stepwell_server.cli.model_list import models as list_models
from stepwell_server.cli.report import Exit, Invocation, note
from stepwell_server.cli.text import columns, one_line
from stepwell_server.home import Home, find_home
from stepwell_server.settings import load_settings

LOOK_S = 1.0


_ENTRIES = {
    "list": Entry("stepwell_server.cli.model_list", "models", "List models, agents, prices, and what was spent today."),
    "search": Entry("stepwell_server.cli.models", "search_models", "List the models that search can compare with."),
    "pull": Entry("stepwell_server.cli.models", "pull", "Fetch a model for search."),
}


@click.group(cls=LazyGroup, entries=_ENTRIES, invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Show the models that agents use and those that search uses; without a command, `list`."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


@click.command(cls=Command, name="search")
@click.pass_obj
def search_models(invocation: Invocation) -> None:
    """List the models that search can compare meanings with, which one is chosen, and which are here."""
    options = search_options(invocation)
    shown = [_describe(model, options) for model in map(find_model, list_names()) if model is not None]
    rows = [
        (
            "*" if item["chosen"] else " ",
            item["preset"] or "",
            item["name"],
            f"{item['megabytes']} MB",
            "here" if item["here"] else "",
        )
        for item in shown
    ]
    using = options.path or options.cache
    invocation.put({"models": shown, "folder": str(using)}, "\n".join([*columns(rows), f"Folder: {using}"]))


@click.command(cls=Command)
@click.argument("name", required=False)
@click.pass_obj
def pull(invocation: Invocation, name: str | None) -> int:
    """Fetch a model, by default the one that is configured."""
    options = search_options(invocation)
    model = find_model(name or options.model)
    if model is None:
        raise InvalidArguments(
            f"There is no model {one_line(name or options.model, 60)!r}.", hint=f"Models: {', '.join(list_names())}."
        )
    if not model.repository and place_model(model, options.cache) is None:
        raise InvalidArguments(
            f"{model.name} is not at the hub: it is built on this machine.",
            hint="Run `make model` in a checkout of Stepwell.",
        )
    progress = _pull(model, options.cache)
    data = {"model": model.name, "state": progress.state, "megabytes": progress.megabytes, "error": progress.error}
    if progress.state == "here":
        invocation.put(data, f"{model.name} is here; servers take it up by themselves.")
        return Exit.OK
    text = f"{model.name} could not be fetched: {one_line(progress.error, 300)}"
    invocation.put(data, f"{text}\nSearches go by words. `make model` in a checkout builds a model without the hub.")
    return Exit.FAILED


def search_options(invocation: Invocation) -> SearchOptions:
    """Return what the home's configuration says of search."""
    return load_settings(Home(find_home(invocation.home)).config).search.options()


def _pull(model: Model, cache: Path) -> Progress:
    if place_model(model, cache) is not None:
        return Progress("here")
    if is_offline():
        return Progress("failed", error="HF_HUB_OFFLINE forbids it")
    command = [sys.executable, "-m", "stepwell.search.fetching", model.name, str(cache)]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            time.sleep(LOOK_S)
            found = read_progress(model, cache)
            if found is not None and found.state == "fetching":
                note(f"{found.megabytes:.0f} of about {found.of_megabytes} MB")
    return read_progress(model, cache) or Progress("failed", error="it ended without a word")


def _describe(model: Model, options: SearchOptions) -> dict[str, Any]:
    chosen = model == options.wanted
    placed = place_folder(options.path, options.model) if chosen and options.path else place_model(model, options.cache)
    return {
        "name": model.name,
        "preset": next((preset for preset, name in PRESETS.items() if name == model.name), None),
        "chosen": chosen,
        "here": placed is not None,
        "megabytes": model.megabytes,
        "dimensions": model.dimensions,
    }
