"""Wheels that nobody vouches for, unpacked by the program that unpacks all of them."""

import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from packages.wheels import make_wheel
from stepwell.packages import unpack as unpacking

MIB = 1024 * 1024


def unpack(*wheels: Path, max_bytes: int = 10 * MIB) -> tuple[dict[str, Any], Path]:
    site = wheels[0].parent / "site"
    told = {"wheels": [str(wheel) for wheel in wheels], "site": str(site), "max_bytes": max_bytes}
    done = subprocess.run(
        [sys.executable, "-I", "-S", unpacking.__file__],
        input=json.dumps(told), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout), site


def test_files_are_write_protected_and_what_an_interpreter_or_a_person_would_run_is_left_out(tmp_path: Path) -> None:
    files = {
        "good/__init__.py": "x = 1\n",
        "good/data.pth": "no start file here\n",
        "evil.pth": "import os; os.abort()\n",
        "sitecustomize.py": "raise SystemExit(1)\n",
        "usercustomize/__init__.py": "raise SystemExit(1)\n",
        "good-1.0.data/scripts/tool": "#!python\n",
        "good-1.0.data/headers/good.h": "\n",
        "good-1.0.data/purelib/more.py": "y = 2\n",
        "good-1.0.data/data/share/good.txt": "text\n",
        "good/broken.py": "def (:\n",
    }
    answer, site = unpack(make_wheel(tmp_path, "good", files))
    found = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    wanted = {"good/__init__.py", "good/data.pth", "more.py", "share/good.txt", "good/broken.py"}
    assert found == wanted | {"good-1.0.dist-info/METADATA", "good-1.0.dist-info/WHEEL"}
    assert answer["bytes"] > 0
    assert not any(path.stat().st_mode & 0o222 for path in site.rglob("*"))
    (compiled,) = site.glob("__pycache__/more.*.pyc")
    assert str(tmp_path).encode() not in compiled.read_bytes()


@pytest.mark.parametrize(
    ("member", "problem"),
    [
        ("../../outside.py", "leads out"),
        ("/etc/outside.py", "leads out"),
        ("good/../../outside.py", "leads out"),
        ("good\\..\\outside.py", "leads out"),
        ("C:/outside.py", "leads out"),
        ("good-1.0.data/purelib/../../outside.py", "leads out"),
        ("good-1.0.data/platdata/x.py", "no wheel may hold"),
        ("stepwell/__init__.py", "belongs to Stepwell"),
        ("good-1.0.data/purelib/stepwell_sandbox.py", "belongs to Stepwell"),
        ("/".join("a" * 41), "leads out"),
        ("a" * 1001, "leads out"),
    ],
)
def test_a_name_that_no_wheel_may_hold_is_refused(tmp_path: Path, member: str, problem: str) -> None:
    answer, _ = unpack(make_wheel(tmp_path / "in", "good", {"good.py": "", member: "evil = 1\n"}))
    assert problem in answer["error"]
    assert not list(tmp_path.rglob("outside.py"))


def test_links_bombs_damage_and_overwriting_are_refused(tmp_path: Path) -> None:
    link = make_wheel(tmp_path, "link", {"link.py": ""})
    with zipfile.ZipFile(link, "a") as wheel:
        member = zipfile.ZipInfo("out")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        wheel.writestr(member, "/etc")
    bomb = make_wheel(tmp_path, "bomb", {})
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("bomb.bin", bytes(20 * MIB))
    torn = make_wheel(tmp_path, "torn", {"torn.py": "x = 1\n" * 1000})
    data = torn.read_bytes()
    torn.write_bytes(data[:300] + b"\0" * 300 + data[600:])
    first, second = (make_wheel(tmp_path, name, {"shared.py": f"x = '{name}'\n"}) for name in ("one", "two"))
    file = make_wheel(tmp_path, "file", {"same": "x"})
    folder = make_wheel(tmp_path, "folder", {"same/x.py": ""})

    assert "a link" in unpack(link)[0]["error"]
    assert "limit [packages] max_mib" in unpack(bomb)[0]["error"]
    assert "damaged" in unpack(torn)[0]["error"]
    assert "overwrites 'shared.py'" in unpack(first, second)[0]["error"]
    assert "a folder there" in unpack(file, folder)[0]["error"]


def test_the_same_file_in_two_packages_is_one(tmp_path: Path) -> None:
    wheels = [
        make_wheel(tmp_path, name, {"spaces/__init__.py": "# shared\n", f"spaces/{name}.py": ""}) for name in "ab"
    ]
    answer, site = unpack(*wheels)
    assert "bytes" in answer
    assert {path.name for path in site.glob("spaces/*.py")} == {"__init__.py", "a.py", "b.py"}
