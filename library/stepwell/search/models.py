"""Which models there are, and where their files lie. Nothing is loaded and nothing is fetched here."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

PRESETS = {
    "default": "ibm-granite/granite-embedding-small-english-r2",
    "light": "BAAI/bge-small-en-v1.5",
    "multilingual": "ibm-granite/granite-embedding-97m-multilingual-r2",
    "max": "Qwen/Qwen3-Embedding-0.6B-Q",
    "offline": "all-MiniLM-L6-v2-int8",
}
"""Names in the configuration, and the models behind them."""

MANIFEST = "stepwell-model.json"
"""In a folder with a model: what a name alone does not say of it."""


@dataclass(frozen=True, slots=True)
class Model:
    """One model."""

    name: str
    file: str = "model.onnx"
    """In the model's folder."""
    more: tuple[str, ...] = ()
    """Further files that it cannot do without."""
    repository: str = ""
    """At the Hugging Face hub; empty for one that is built here."""
    pooling: str = ""
    """`mean` or `cls` where fastembed does not know the model."""
    dimensions: int = 384
    prefix: str = ""
    """Goes before a query, not before what is searched."""
    megabytes: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """A model whose files are on this machine."""

    model: Model
    folder: Path
    """With the file and the tokenizer in it."""
    hub: bool = False
    """The folder is the hub's, below the cache."""


_TASK = "Instruct: Given a request, find the workflow or tool that serves it\nQuery: "
_KNOWN = (
    Model(
        PRESETS["default"],
        "onnx/model.onnx",
        ("onnx/model.onnx_data",),
        "onnx-community/granite-embedding-small-english-r2-ONNX",
        megabytes=180,
    ),
    Model(PRESETS["light"], "model_optimized.onnx", (), "Qdrant/bge-small-en-v1.5-onnx-Q", megabytes=67),
    Model(
        PRESETS["multilingual"],
        "onnx/model_quint8_avx2.onnx",
        (),
        "ibm-granite/granite-embedding-97m-multilingual-r2",
        pooling="cls",
        megabytes=98,
    ),
    Model(
        PRESETS["max"],
        "onnx/model_quantized.onnx",
        (),
        "Qdrant/Qwen3-Embedding-0.6B-onnx",
        dimensions=1024,
        prefix=_TASK,
        megabytes=1120,
    ),
    Model(PRESETS["offline"], "model_int8.onnx", pooling="mean", megabytes=23),
    Model("snowflake/snowflake-arctic-embed-xs", "onnx/model.onnx", (), "Snowflake/snowflake-arctic-embed-xs",
          prefix="Represent this sentence for searching relevant passages: ", megabytes=90),
    Model("snowflake/snowflake-arctic-embed-s", "onnx/model.onnx", (), "Snowflake/snowflake-arctic-embed-s",
          prefix="Represent this sentence for searching relevant passages: ", megabytes=130),
    Model("sentence-transformers/all-MiniLM-L6-v2", "model.onnx", (), "Qdrant/all-MiniLM-L6-v2-onnx", megabytes=90),
)  # fmt: skip


def find_model(name: str) -> Model | None:
    """Return the model of a preset's or its own name, with or without its publisher; None for one not listed here."""
    wanted = PRESETS.get(name.lower(), name).lower()
    for model in _KNOWN:
        if wanted in (model.name.lower(), model.name.rpartition("/")[2].lower()):
            return model
    return None


def list_names() -> list[str]:
    """Return the names of the models listed here."""
    return [model.name for model in _KNOWN]


def place_model(model: Model, cache: Path) -> Placed | None:
    """Return the model if its files are in the cache: built there, or fetched from the hub."""
    built = cache / model.name.rpartition("/")[2].lower()
    if (built / MANIFEST).is_file():
        return place_folder(built)
    if model.repository:
        folder = _snapshot(cache, model.repository)
        if folder is not None and all((folder / file).is_file() for file in (model.file, *model.more)):
            return Placed(model, folder, hub=True)
    return None


def place_folder(folder: Path, name: str = "") -> Placed | None:
    """Return the model in a folder, by its manifest, else by the name that it is said to have."""
    try:
        said = json.loads((folder / MANIFEST).read_text("utf-8"))
        model = Model(
            name=str(said["name"]),
            file=str(said["file"]),
            pooling=str(said["pooling"]),
            dimensions=int(said["dimensions"]),
            prefix=str(said.get("prefix", "")),
        )
    except FileNotFoundError:
        known = find_model(name) if name else None
        if known is None:
            return None
        model = replace(known, file=known.file if (folder / known.file).is_file() else Path(known.file).name)
    except (ValueError, KeyError, TypeError, OSError):
        return None
    return Placed(model, folder) if (folder / model.file).is_file() else None


def is_offline() -> bool:
    """Say whether the environment forbids fetching models."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "TRUE", "YES", "ON"}


def _snapshot(cache: Path, repository: str) -> Path | None:
    root = cache / f"models--{repository.replace('/', '--')}"
    try:
        revision = (root / "refs" / "main").read_text("utf-8").strip()
    except (OSError, ValueError):
        return None
    return root / "snapshots" / revision
