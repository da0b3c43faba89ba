"""Wheels made by hand, honest and hostile, in a folder that stands where an index stands."""

import os
import socket
import zipfile
from pathlib import Path

import pytest


def make_wheel(folder: Path, name: str, files: dict[str, str], *, version: str = "1.0", requires: str = "") -> Path:
    """Write `name-version-py3-none-any.whl` with these files and what a wheel needs besides."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {item}\n" for item in requires.split())
    described = {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in (files | described).items():
            wheel.writestr(zipfile.ZipInfo(member), text)  # the same time in each: the same bytes
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
    return path


def use_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let installers look into a folder and nowhere else, as a user configures them."""
    folder.mkdir(exist_ok=True, parents=True)
    for variable in ("PIP_EXTRA_INDEX_URL", "UV_INDEX", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    settings = folder.parent / "uv.toml"
    settings.write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    monkeypatch.setenv("UV_NO_CACHE", "1")


def source(body: str, *requirements: str, head: str = "") -> str:
    """Return a workflow that declares packages."""
    listed = ", ".join(f'"{item}"' for item in requirements)
    return f'# /// script\n{head}# dependencies = [{listed}]\n# ///\n"""Use packages."""\n{body}'


def need_index(error: str) -> None:
    """Skip a test that needs the package index, which cannot be reached; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"the package index must be there in CI: {error}")
    pytest.skip(f"the package index cannot be reached: {error}")


def refusing_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
