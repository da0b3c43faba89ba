"""uv and pip find the same files and come to the same folder."""

import shutil
import sys
from pathlib import Path

import pytest

from packages.wheels import make_wheel
from stepwell.packages import unpack
from stepwell.packages.installers import BOUNDS, WANTED, Installer, Pip, Uv
from stepwell.packages.running import Work

pytestmark = pytest.mark.slow


def begin(folder: Path) -> Work:
    folder.mkdir()
    (folder / WANTED).write_text("stepwelltest-one>=1\n")
    (folder / BOUNDS).write_text("stepwelltest-two<2\n")
    return Work(folder, 10**8, lambda size: None)


def tree(site: Path) -> dict[str, bytes]:
    return {str(path.relative_to(site)): path.read_bytes() for path in site.rglob("*") if path.is_file()}


async def install(installer: Installer, folder: Path) -> tuple[list[str], dict[str, bytes]]:
    work, site = begin(folder), folder / "site"
    files = await installer.resolve(work)
    unpack.unpack(await installer.fetch(work, files, site), site, 10**7)
    return sorted(f"{file.file} {file.sha256}" for file in files), tree(site)


@pytest.mark.asyncio
async def test_uv_and_pip_come_to_the_same(wheels: Path, tmp_path: Path):
    uv = shutil.which("uv", path=Path(sys.executable).parent)
    assert uv is not None
    ones = {
        "one/__init__.py": "import two\n",
        "x.pth": "import two\n",
        "stepwelltest_one-1.0.data/scripts/one": "#!python\n",
    }
    make_wheel(wheels, "stepwelltest_one", ones, requires="stepwelltest-two")
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "stepwelltest_two", {"two.py": f"VERSION = '{version}'\n"}, version=version)
    by_pip = await install(Pip((sys.executable, "-P", "-m", "pip")), tmp_path / "pip")
    by_uv = await install(Uv(uv), tmp_path / "uv")
    assert by_uv == by_pip
    assert by_pip[1]["two.py"] == b"VERSION = '1.0'\n"
