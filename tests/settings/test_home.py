import os
import stat
from pathlib import Path

import pytest

from stepwell.errors import ConfigError
from stepwell_server.home import find_home, open_home, platform_home


def test_the_option_comes_before_the_variable_before_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_HOME", str(tmp_path / "variable"))
    assert find_home(str(tmp_path / "option")) == tmp_path / "option"
    assert find_home(None) == tmp_path / "variable"
    monkeypatch.setenv("STEPWELL_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    if os.uname().sysname == "Linux":
        assert find_home(None) == tmp_path / "xdg" / "stepwell"


def test_relative_paths_and_tildes_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert find_home("here") == tmp_path / "here"
    assert find_home("~/there") == tmp_path / "user" / "there"


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/u/.local/share/stepwell"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/stepwell"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "/u/.local/share/stepwell"),
        ("darwin", {"XDG_DATA_HOME": "/data"}, "/u/Library/Application Support/stepwell"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/stepwell"),
        ("win32", {}, "/u/AppData/Local/stepwell"),
    ],
)
def test_each_platform_has_its_directory(platform: str, environment: dict[str, str], expected: str) -> None:
    assert platform_home(platform, environment, Path("/u")) == Path(expected)


def test_a_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    home = open_home(tmp_path / "a" / "b")
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert home.db == home.path / "stepwell.db"
    assert home.config == home.path / "stepwell.toml"
    assert home.workflows.is_dir()
    assert home.tools.is_dir()
    assert open_home(home.path) == home


@pytest.mark.parametrize("where", ["", "below", "tools"])
def test_a_home_that_is_no_directory_is_an_error(tmp_path: Path, where: str) -> None:
    path = tmp_path / "home"
    if where == "tools":
        path.mkdir()
        (path / "tools").write_text("")
        wanted = path
    else:
        path.write_text("")
        wanted = path / where
    with pytest.raises(ConfigError, match="not a directory") as caught:
        open_home(wanted)
    assert "--home" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_made_or_written_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot be"):
        open_home(tmp_path / "home")


def test_a_home_that_the_system_does_not_allow_is_an_error() -> None:
    with pytest.raises(ConfigError, match="cannot be made"):
        open_home(Path("/proc/stepwell/home"))
