"""What is loaded when, and by whom."""

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell import errors

ROOT = Path(__file__).parents[2]
HEAVY = {"anthropic", "fastembed", "numpy", "onnxruntime", "openai", "packaging", "pandas", "yaml"}


def modules_after(code: str, *options: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `code`."""
    show = "import sys, json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, *options, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def third_party(modules: set[str]) -> set[str]:
    own = {"stepwell", "stepwell_sandbox", "stepwell_server", "__main__"}
    return {name for name in modules if name not in sys.stdlib_module_names and name not in own and name[0] != "_"}


def test_what_authors_import_is_the_standard_library_and_ten_handfuls_of_names():
    before = third_party(modules_after(""))

    assert third_party(modules_after("import stepwell")) == before


def test_the_guest_runs_on_the_standard_library_alone():
    paths = [str(ROOT / "library"), str(ROOT / "sandbox")]
    code = f"import sys; sys.path[:0] = {paths!r}\nimport stepwell_sandbox.guest.boot"

    # -S: no site-packages at all, so that anything else would be an ImportError.
    assert third_party(modules_after(code, "-S", "-s", "-P")) == set()


@pytest.mark.parametrize("module", ["stepwell_server.surface.stdio", "stepwell_server.cli", "stepwell_server.session"])
def test_nothing_heavy_is_loaded_at_start(module: str):
    assert modules_after(f"import {module}") & HEAVY == set()


def test_the_command_line_loads_no_server_to_show_its_help():
    loaded = modules_after("from stepwell_server.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit: pass"
                           .replace("main(['--help'])", "import sys; sys.argv = ['stepwell', '--help']; sys.stdout = sys.stderr; main()")
                           + "\nsys.stdout = sys.__stdout__")  # fmt: skip

    assert loaded & {"mcp", "uvicorn", "httpx"} == set()


def test_the_tree_of_errors_is_as_drawn():
    drawn = re.findall(r"[├└]── (\w+)", inspect.getdoc(errors) or "")
    classes = [
        name for name, cls in vars(errors).items() if isinstance(cls, type) and cls.__module__ == errors.__name__
    ]

    assert ["StepwellError", *drawn] == classes
    for line in (inspect.getdoc(errors) or "").splitlines():
        if match := re.match(r"( *)(?:│   |    )?[├└]── (\w+)", line):
            assert issubclass(getattr(errors, match[2]), errors.StepwellError)


def test_no_module_is_long():
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("library", "sandbox", "server")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400 and "syscalls" not in path.name
    }

    assert long == {}


def test_no_file_names_the_machine_it_was_written_on():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    pattern = re.compile(r"(?<![\w.])/(work|farm)/")

    assert [name for name in files if name.endswith((".py", ".md", ".toml", ".json", ".yaml")) and name != "tests/house/test_imports.py" and pattern.search((ROOT / name).read_text())] == []  # fmt: skip


def test_functions_are_short():
    long: list[str] = []
    for folder in ("library", "sandbox", "server"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                    lines = node.end_lineno - node.lineno + 1
                    if lines > 60:
                        long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({lines})")

    assert long == []
