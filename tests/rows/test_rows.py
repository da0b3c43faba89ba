import ast
from pathlib import Path

from rows.report import read_rows

TESTS = Path(__file__).parents[1]


def marked_rows() -> set[str]:
    """Row ids in `pytest.mark.row(...)` of any test module."""
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
                values = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                found |= {value for value in values if isinstance(value, str)}
    return found


def test_every_marked_row_is_a_row():
    assert marked_rows() - set(read_rows()) == set()


def test_the_rows_of_all_five_systems_are_there():
    assert {row[0] for row in read_rows()} == set("NADSP")
    assert len(read_rows()) == 178
