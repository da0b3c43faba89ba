"""Figures as a table in the terminal, as Markdown, and as a drawing."""

import os
import platform
import sqlite3
import sys
from html import escape
from pathlib import Path

import floors
import runs
from figures import Figure, Figures, number
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
BAR, LEFT, ROW, WIDTH = 22, 250, 30, 760


def facts(figures: Figures) -> list[str]:
    """Return what a reader must know of the machine."""
    return [
        f"{os.cpu_count()} cores, {platform.system()} on {platform.machine()}",
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        f"{os.getloadavg()[2]:.1f} processes at work on average in the 15 minutes before the end",
        *(f"{name}: {number(value)} ms" for name in (floors.FSYNC, floors.COMMIT) if (value := figures.find(name))),
    ]


def show(figures: Figures) -> None:
    """Print the table."""
    table = Table("what", "figure", "goal", "in floors of this machine")
    topic = ""
    for row in figures.rows:
        if row.topic != topic:
            table.add_section()
            topic = row.topic
        table.add_row(
            f"{row.topic}: {row.name}", f"{number(row.value)} {row.unit}", _goal(row), _in_floors(figures, row)
        )
    console = Console(width=None if sys.stdout.isatty() else 180)
    console.print(table)
    for name, why in figures.missing.items():
        console.print(f"{name} was not measured: {why}")


def write(figures: Figures) -> None:
    """Write `results.md` and `results.svg`."""
    lines = ["# Results", "", "From one run of `make bench ARGS=--write`. " + "; ".join(facts(figures)) + ".", ""]
    lines += ["How each is measured is said in the modules of this folder. A floor is what the machine does without"]
    lines += ["Stepwell: one commit, one message to a process and back. Peers are measured in turns with Stepwell.", ""]
    if any(row.topic == runs.STEPS for row in figures.rows):
        lines += ["![Steps per second](results.svg)", ""]
    lines += ["| what | figure | goal | in floors |", "| --- | --- | --- | --- |"]
    for row in figures.rows:
        shown = f"| {row.topic}: {row.name} | {number(row.value)} {row.unit} | {_goal(row)} |"
        lines.append(f"{shown} {_in_floors(figures, row)} |")
    lines += [f"\n{name} was not measured: {why}." for name, why in figures.missing.items()]
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    (HERE / "results.svg").write_text(_drawing(figures))


def _goal(row: Figure) -> str:
    return "" if row.met is None else f"{row.goal}: {'met' if row.met else 'missed'}"


def _in_floors(figures: Figures, row: Figure) -> str:
    commit, trip = figures.find(floors.COMMIT), figures.find(floors.ROUND_TRIP)
    if not commit or not trip:
        return ""
    if row.unit == "steps/s":
        each = 1000 / row.value
        return f"a step in {number(each / commit)} commits, {number(each / trip)} round trips"
    if row.unit == "ms" and row.topic in (runs.RESUME, runs.EMPTY):
        return f"{number(row.value / commit)} commits, {number(row.value / trip)} round trips"
    return ""


def _drawing(figures: Figures) -> str:
    parts: list[str] = []
    y = 10
    for title in (runs.SEQUENTIAL, runs.CONCURRENT):
        rows = [row for row in figures.rows if row.unit == "steps/s" and row.name.startswith(title)]
        if not rows:
            continue
        parts.append(f'<text x="10" y="{y + 16}" font-weight="bold">{escape(title)}</text>')
        y += ROW
        longest = max(row.value for row in rows)
        for row in rows:
            name = row.name.removeprefix(title).removeprefix(", ")
            peer = name in figures_peers(figures)
            label = name if peer else f"Stepwell, {name}" if name else "Stepwell"
            length = max(1, (WIDTH - LEFT - 110) * row.value / longest)
            fill = "#a8adb5" if peer else "#1f6feb"
            parts.append(f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{escape(label)}</text>')
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" rx="3" fill="{fill}"/>')
            parts.append(f'<text x="{LEFT + length + 8:.0f}" y="{y + 16}">{number(row.value)}</text>')
            y += ROW
        y += ROW // 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" '
        'font-family="sans-serif" font-size="14" fill="#1f2328">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


def figures_peers(figures: Figures) -> set[str]:
    """Return the names of the peers that were measured."""
    mark = "as a multiple of "
    return {row.name.rpartition(mark)[2] for row in figures.rows if mark in row.name and row.topic == runs.STEPS}
