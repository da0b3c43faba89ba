"""Advice that is written for a model, in the words of the command line."""

import re

_PHRASES = (
    (re.compile(r"\b[Pp]ass replace=True\b"), "Use --replace"),
    (re.compile(r"\breplace=True\b"), "--replace"),
    (re.compile(r"\bsearch_workflows\b(\([^)]*\))?"), "`stepwell search`"),
    (re.compile(r"\blist_workflows\b(\([^)]*\))?"), "`stepwell list`"),
    (re.compile(r"\bcreate_workflow\b(\([^)]*\))?"), "`stepwell create`"),
    (re.compile(r"\bget_workflow\b(\([^)]*\))?"), "`stepwell get`"),
    (re.compile(r"\blist_runs\b(\([^)]*\))?"), "`stepwell runs`"),
    (re.compile(r"\bget_run\b(\([^)]*\))?"), "`stepwell show`"),
    (
        re.compile(r"\bresume_run\(run_id='([^']*)', budget_usd=([\d.]+)\)"),
        r"`stepwell resume \1 --budget-usd \2`",
    ),
    (re.compile(r"\bresume_run\b(\([^)]*\))?"), "`stepwell resume`"),
    (re.compile(r"\bapprove_run\b(\([^)]*\))?"), "`stepwell approve` (or `reject`, `answer`)"),
    (re.compile(r"\bcancel_run\b(\([^)]*\))?"), "`stepwell cancel`"),
    (re.compile(r"\b(?:invoke|run)_workflow\b(\([^)]*\))?"), "`stepwell run`"),
)


def for_terminal(hint: str) -> str:
    """Return the hint with commands where it names MCP tools."""
    for pattern, command in _PHRASES:
        hint = pattern.sub(command, hint)
    return hint.replace("``", "`")
