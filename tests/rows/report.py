"""Which feature rows are shown by which tests.

`make rows` prints the table. A row counts when a test that is marked with it exists; that the test passes is what
`make test` says.
"""

import contextlib
import io
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

ROWS = Path(__file__).with_name("rows.md")
ROW = re.compile(r"\| ([NADSP]\d+) \| (.+?) \|")
SYSTEMS = {"N": "Ninetrix", "A": "AGNT5", "D": "Definable", "S": "Sagewai", "P": "py-code-mode"}


def read_rows() -> dict[str, str]:
    """Return feature by row id, in the order of the file."""
    return {match[1]: match[2] for line in ROWS.read_text().splitlines() if (match := ROW.match(line))}


def marked(items: list[Any]) -> dict[str, list[str]]:
    """Return the tests by the row that they are marked with."""
    shown: dict[str, list[str]] = defaultdict(list)
    for item in items:
        name = item.nodeid.split("[")[0]
        for mark in item.iter_markers("row"):
            for row in mark.args:
                if name not in shown[row]:
                    shown[row].append(name)
    return shown


class _Collector:
    """A pytest plugin that keeps what was collected."""

    def __init__(self) -> None:
        self.shown: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: Any) -> None:
        self.shown = marked(session.items)


def main() -> int:
    """Print the table; 1 if the tests cannot be collected or name a row that there is not."""
    collector = _Collector()
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider"], plugins=[collector])
    if code != 0:
        sys.stderr.write(output.getvalue())
        return 1
    rows, shown = read_rows(), collector.shown
    for row, feature in rows.items():
        tests = shown.get(row, [])
        print(f"{'shown' if tests else '  -  '}  {row:<4} {feature}")
        for test in tests:
            print(f"             {test}")
    for letter, system in SYSTEMS.items():
        ids = [row for row in rows if row[0] == letter]
        print(f"{system}: {sum(row in shown for row in ids)} of {len(ids)} rows")
    print(f"{sum(row in shown for row in rows)} of {len(rows)} rows shown")
    unknown = sorted(set(shown) - set(rows))
    if unknown:
        print(f"marked, but not in {ROWS.name}: {', '.join(unknown)}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
