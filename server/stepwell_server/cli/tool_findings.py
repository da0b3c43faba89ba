"""What the doctor says of tools, and of the servers, services and modules that they come from."""

import sys
from contextlib import redirect_stdout

from stepwell.model import JsonObject
from stepwell.tools import Tried
from stepwell.tools.mistakes import dotted
from stepwell_server.app import open_tools
from stepwell_server.cli.finding import Finding
from stepwell_server.home import Home
from stepwell_server.settings import Settings

TRY_S = 15.0
"""For all servers, documents and modules together."""


async def tool_findings(home: Home, settings: Settings) -> list[Finding]:
    """Say which tools there are, and which configured servers, documents and modules cannot be used."""
    # What a module prints while it is loaded is no part of the report.
    with redirect_stdout(sys.stderr):
        # Nothing kept: a server is started although its listing of another day is there.
        async with open_tools(home, settings) as toolbox:
            names = [spec.name for spec in toolbox.list_tools()]
            problems = list(toolbox.problems)
            tried = await toolbox.try_sources(TRY_S)
    details: JsonObject = {"tools": names, "problems": problems}
    found = [Finding("tools", "ok", ", ".join(names), details=details)]
    found += [Finding("tools", "warn", problem) for problem in problems]
    return found + [_source(home, source) for source in tried] + _disabled(settings)


def _source(home: Home, tried: Tried) -> Finding:
    details: JsonObject = {"section": tried.section, "tools": tried.tools, "tried": not tried.late}
    if tried.problem:
        mend = f"Mend [{tried.section}] in {home.config}; the other tools work without it."
        return Finding("tools", "warn", tried.problem, mend, details)
    if tried.late:
        text = f"[{tried.section}] was not tried to its end: it had not told its tools after {TRY_S:g} s"
        mend = "Run stepwell doctor again; if it stays so, try its command or address by hand."
        return Finding("tools", "warn", text, mend, details)
    count = f"{tried.tools} tool" + ("" if tried.tools == 1 else "s")
    return Finding("tools", "ok", f"{count} in tools.{tried.name}, of [{tried.section}]", details=details)


def _disabled(settings: Settings) -> list[Finding]:
    off = [dotted(["mcp_servers", name]) for name, found in settings.mcp_servers.items() if found.disabled]
    text = f"not tried, since disabled: {', '.join(f'[{section}]' for section in off)}"
    details: JsonObject = {"sections": off, "tried": False}
    return [Finding("tools", "ok", text, details=details)] if off else []
