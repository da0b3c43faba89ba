"""Every scenario of the list has a test with its number in its name."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]
LISTED = re.compile(r"^\| (\d+) \|", re.MULTILINE)
NAMED = re.compile(r"^(?:async )?def test_scenario_(\d+)_", re.MULTILINE)


def test_every_scenario_has_a_test():
    listed = [int(number) for number in LISTED.findall(Path(__file__).with_name("README.md").read_text())]
    shown = {int(number) for path in TESTS.rglob("test_*.py") for number in NAMED.findall(path.read_text())}

    assert listed == list(range(1, 26))
    assert set(listed) - shown == set()
