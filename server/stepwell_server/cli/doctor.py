"""`stepwell doctor`: what works on this machine, what does not, and how to mend it."""

import asyncio
import os
import platform
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from importlib.metadata import version as installed_version
from pathlib import Path

import click

from stepwell.errors import StepwellError
from stepwell.model import JsonObject
from stepwell.store.database import open_database
from stepwell_sandbox.open import probe
from stepwell_server.cli.commands import Command
from stepwell_server.cli.doctor_memory import examine_memory
from stepwell_server.cli.finding import Finding, Verdict
from stepwell_server.cli.isolation import isolation_findings
from stepwell_server.cli.package_findings import package_findings
from stepwell_server.cli.report import Exit, Invocation
from stepwell_server.cli.search_findings import search_findings
from stepwell_server.cli.secret_findings import secret_findings
from stepwell_server.cli.text import block, one_line
from stepwell_server.cli.tool_findings import tool_findings
from stepwell_server.cli.workers import serving
from stepwell_server.home import Home, find_home
from stepwell_server.settings import Settings, load_settings

_MARKS: dict[Verdict, tuple[str, str]] = {"ok": ("ok  ", "green"), "warn": ("note", "yellow"), "fail": ("FAIL", "red")}


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="The same as --output json.")
@click.pass_obj
def doctor(invocation: Invocation, *, as_json: bool) -> int:
    """Say what works on this machine and what does not; exit code 1 if workflows cannot run."""
    if as_json:
        invocation = replace(invocation, output="json")
    findings = asyncio.run(_examine(Home(find_home(invocation.home))))
    failed = [finding.name for finding in findings if finding.verdict == "fail"]
    verdict = f"Not ready: {', '.join(failed)}." if failed else "Ready."
    data = {"ok": not failed, "verdict": verdict, "checks": [asdict(finding) for finding in findings]}
    lines = [line for finding in findings for line in _lines(finding)]
    invocation.put(data, "\n".join([*lines, "", click.style(verdict, fg="red" if failed else "green", bold=True)]))
    return Exit.FAILED if failed else Exit.OK


async def _examine(home: Home) -> list[Finding]:
    settings, config = _config(home)
    checks: list[Callable[[], Awaitable[list[Finding]]]] = [
        lambda: _store(home),
        lambda: _sandbox(settings),
        lambda: examine_memory(home, settings),
        lambda: tool_findings(home, settings),
        lambda: secret_findings(home, settings),
        lambda: package_findings(home, settings),
        lambda: search_findings(home, settings),
    ]
    findings = [_versions(), _place(home), config]
    for check in checks:
        findings += await check()
    return [*findings, _curl()]


def _versions() -> Finding:
    python = platform.python_version()
    details: JsonObject = {"stepwell": installed_version("stepwell"), "python": python, "platform": platform.platform()}
    text = f"Stepwell {details['stepwell']}, Python {python}, {details['platform']}"
    return Finding("versions", "ok", text, details=details)


def _place(home: Home) -> Finding:
    details: JsonObject = {"path": str(home.path), "exists": home.path.exists()}
    if home.path.is_dir():
        if os.access(home.path, os.R_OK | os.W_OK | os.X_OK):
            return Finding("home", "ok", str(home.path), details=details)
        mend = "Change its permissions, or choose another one with STEPWELL_HOME or --home DIR."
        return Finding("home", "fail", f"{home.path} cannot be written to", mend, details)
    if home.path.exists():
        return Finding("home", "fail", f"{home.path} is no directory", "Choose another one with --home DIR.", details)
    above = next(parent for parent in home.path.parents if parent.exists())
    if os.access(above, os.W_OK | os.X_OK):
        return Finding("home", "ok", f"{home.path} is made at the first use", details=details)
    mend = "Choose another one with STEPWELL_HOME or --home DIR."
    return Finding("home", "fail", f"{home.path} cannot be made: {above} cannot be written to", mend, details)


def _config(home: Home) -> tuple[Settings, Finding]:
    details: JsonObject = {"path": str(home.config), "exists": home.config.is_file()}
    try:
        settings = load_settings(home.config)
    except StepwellError as error:
        return Settings(), Finding("configuration", "fail", error.message, error.hint, details)
    text = str(home.config) if home.config.is_file() else "none; the defaults apply"
    return settings, Finding("configuration", "ok", text, details=details)


async def _store(home: Home) -> list[Finding]:
    if not home.db.exists():
        return [Finding("store", "ok", "none yet; it is made at the first use")]
    try:
        async with open_database(home.db) as database:
            schema = await database.read(lambda c: int(c.execute("PRAGMA user_version").fetchone()[0]))
            pids = await serving(home, database)
    except StepwellError as error:
        return [Finding("store", "fail", error.message, error.hint)]
    size = sum(_size(home.db.with_name(home.db.name + ending)) for ending in ("", "-wal"))
    details: JsonObject = {"path": str(home.db), "bytes": size, "schema": schema}
    named = f"process {', '.join(map(str, pids))}" if pids else "none runs on this home now"
    return [
        Finding("store", "ok", f"{home.db}, {size / 1024**2:.1f} MiB, schema {schema}", details=details),
        Finding("servers", "ok", named, details={"pids": pids}),
    ]


async def _sandbox(settings: Settings) -> list[Finding]:
    try:
        report = await probe(settings.sandbox.minimum)
    except StepwellError as error:
        return [Finding("sandbox", "fail", error.message, error.hint)]
    return isolation_findings(report)


def _curl() -> Finding:
    path = shutil.which("curl")
    if path is None:
        mend = "Install curl; tools.fetch needs none."
        return Finding("curl", "warn", "is not installed: tools.curl does not work", mend)
    return Finding("curl", "ok", path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lines(finding: Finding) -> list[str]:
    mark, colour = _MARKS[finding.verdict]
    first, *rest = block(finding.text).split("\n")
    lines = [f"{click.style(mark, fg=colour)}  {one_line(finding.name):<14} {first}"]
    lines += [" " * 21 + line for line in rest]
    return lines + [" " * 21 + line for line in block(finding.mend).split("\n") if line]
