"""`stepwell graph`: what a workflow does, drawn."""

from dataclasses import asdict

import click

from stepwell.catalog.drawing import draw
from stepwell_server.cli.commands import Command
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Invocation
from stepwell_server.cli.text import block


@click.command(cls=Command)
@click.argument("name")
@click.option("--version", help="A version's hash, or its first digits.")
@click.option("--mermaid", is_flag=True, help="Print a Mermaid flow chart instead of a tree.")
@click.pass_obj
def graph(invocation: Invocation, name: str, version: str | None, mermaid: bool) -> None:
    """Draw the nodes of a declarative workflow, or the steps and calls that the code of another one shows.

    Nothing is executed: what is only known in a run is not in it.
    """
    workflow = in_app(invocation, lambda app: app.catalog.get(name, version))
    drawing = draw(workflow)
    data = {"name": workflow.name, "version": workflow.version.hash[:12]} | asdict(drawing)
    invocation.put(data, block(drawing.mermaid if mermaid else drawing.text))
