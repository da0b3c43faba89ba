"""Fetching a model: `python -m stepwell.search.fetching NAME CACHE`, a process of its own; how it goes is in a file."""

import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from stepwell.model.locks import take_lock
from stepwell.search.models import Model, find_model, place_model

TELL_S = 0.5

_TOKENIZER = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True, slots=True)
class Progress:
    """How fetching a model goes, or went the last time."""

    state: Literal["fetching", "here", "failed"]
    megabytes: float = 0.0
    """On this machine so far."""
    of_megabytes: int = 0
    at: float = 0.0
    """Unix seconds of this word."""
    error: str = ""


def read_progress(model: Model, cache: Path) -> Progress | None:
    """Return how fetching it goes; None if nobody has tried."""
    try:
        said = json.loads(_file(model, cache, "json").read_text("utf-8"))
        progress = Progress(**said)
    except (OSError, ValueError, TypeError):
        return None
    if progress.state == "fetching" and (fd := take_lock(_file(model, cache, "lock"), create=False)) is not None:
        os.close(fd)
        return Progress("failed", progress.megabytes, progress.of_megabytes, progress.at, "it was interrupted")
    return progress


def fetch(model: Model, cache: Path) -> Progress:
    """Fetch a model and return how it ended; at once, where another process is at it."""
    cache.mkdir(parents=True, exist_ok=True)
    fd = take_lock(_file(model, cache, "lock"))
    if fd is None:
        return read_progress(model, cache) or Progress("fetching")
    ended = threading.Event()
    teller = threading.Thread(target=_tell, args=(model, cache, ended), daemon=True)
    teller.start()
    try:
        _download(model, cache)
        state, error = ("here", "") if place_model(model, cache) else ("failed", "files are missing at the hub")
    except Exception as problem:  # noqa: BLE001 - foreign code over the network: told to whoever looks
        state, error = "failed", f"{type(problem).__name__}: {problem}".splitlines()[0][:300]
    ended.set()
    teller.join()
    progress = Progress(state, _megabytes(model, cache), model.megabytes, time.time(), error)
    _write(model, cache, progress)
    os.close(fd)
    return progress


def _download(model: Model, cache: Path) -> None:
    # Comes with fastembed; loaded in this process only.
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    snapshot_download(
        model.repository, cache_dir=cache, allow_patterns=[*_TOKENIZER, model.file, *model.more], max_workers=2
    )


def _tell(model: Model, cache: Path, ended: threading.Event) -> None:
    while True:
        _write(model, cache, Progress("fetching", _megabytes(model, cache), model.megabytes, time.time()))
        if ended.wait(TELL_S):
            return


def _megabytes(model: Model, cache: Path) -> float:
    root = cache / f"models--{model.repository.replace('/', '--')}" / "blobs"
    size = 0
    for path in root.glob("*"):
        try:
            size += path.stat().st_size
        except OSError:  # finished files change their name
            continue
    return round(size / 1e6, 1)


def _write(model: Model, cache: Path, progress: Progress) -> None:
    path = _file(model, cache, "json")
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(progress)), "utf-8")
    new.replace(path)


def _file(model: Model, cache: Path, ending: str) -> Path:
    return cache / f"{model.name.replace('/', '--').lower()}.fetch.{ending}"


def main() -> int:
    """Fetch; 0 if the model is here."""
    name, cache = sys.argv[1:3]
    model = find_model(name)
    return 0 if model is not None and fetch(model, Path(cache)).state == "here" else 1


if __name__ == "__main__":
    sys.exit(main())
