"""The wheel works without the sources."""

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("wheel")  # its fixture is made once

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    target = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # A path in a .pth file is searched, but .pth files in it are not read: the editable install stays out of sight.
    Path(target, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return python


def run(python: Path, *arguments: str) -> str:
    done = subprocess.run(
        [python.parent / arguments[0], *arguments[1:]],
        cwd=python.parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_packages_come_from_the_wheel(installed: Path):
    code = "import stepwell, stepwell_sandbox, stepwell_server; print(stepwell.__file__, stepwell_server.__file__)"

    for path in run(installed, "python", "-c", code).split():
        assert Path(path).is_relative_to(installed.parents[1])


@pytest.mark.slow
def test_the_installed_command_creates_and_runs_a_workflow(installed: Path, tmp_path: Path):
    source = tmp_path / "greet.py"
    source.write_text("def run(name: str) -> str:\n    return f'Hello, {name}!'\n")
    home = ["--home", str(tmp_path / "home"), "--output", "json"]

    run(installed, "stepwell", *home, "create", str(source))
    result = json.loads(run(installed, "stepwell", *home, "run", "greet", "name=Ada"))

    assert (result["status"], result["output"]) == ("completed", "Hello, Ada!")


@pytest.mark.slow
def test_the_shipped_tools_are_in_the_wheel(installed: Path, tmp_path: Path):
    home = ["--home", str(tmp_path / "home"), "--output", "json"]
    source = tmp_path / "names.py"
    source.write_text("def run() -> list:\n    return [tool['name'] for tool in tools.list()]\n")

    run(installed, "stepwell", *home, "create", str(source))
    result = json.loads(run(installed, "stepwell", *home, "run", "names"))

    assert {"fetch", "curl.get"} <= set(result["output"])
