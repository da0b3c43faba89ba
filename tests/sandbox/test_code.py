"""The copies that guests are started from."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from stepwell_sandbox.code import copy_code
from stepwell_sandbox.scratch import Folder


def test_a_sandbox_has_its_code_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    folder = Folder(tmp_path)
    try:
        sources = list(folder.code.rglob("*.py"))
        assert {"boot.py", "zygote.py"} <= {path.name for path in sources}
        assert [path for path in sources if not os.path.exists(importlib.util.cache_from_source(str(path)))] == []
    finally:
        folder.remove()


def test_what_was_compiled_from_another_text_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    source, stale = tmp_path / "own.py", Path(importlib.util.cache_from_source(str(tmp_path / "own.py")))
    source.write_text("VALUE = 1\n")
    stale.parent.mkdir()
    stale.write_bytes(importlib.util.MAGIC_NUMBER + bytes(12) + b"something else")

    copy_code(source, tmp_path / "copy" / "own.py")
    copied = Path(importlib.util.cache_from_source(str(tmp_path / "copy" / "own.py"))).read_bytes()
    assert b"something else" not in copied
    assert b"VALUE" in copied


def test_a_text_that_does_not_compile_is_copied_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def (\n")
    copy_code(tmp_path / "own.py", tmp_path / "copy" / "own.py")

    assert [path.name for path in (tmp_path / "copy").rglob("*")] == ["own.py"]
