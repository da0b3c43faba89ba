"""Codec values on the host: what people and other runs see, and nothing that a guest can send upsets it."""

import contextlib
import enum
import json
import random
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from stepwell.engine import border
from stepwell.sdk import codec
from stepwell.sdk.step import find_class
from stepwell_sandbox.guest.inputs import convert


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)
    PRICE = Decimal("1.10")


class Word(enum.StrEnum):
    NEW = "new-item"


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Mode(enum.IntFlag):
    A = 1
    B = 4


class Point(NamedTuple):
    x: int
    y: Decimal


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: list[Any] = [
    {"$": "int", "v": 5}, {"$": "int", "v": "x"}, {"$": "int", "v": ""}, {"$": "int"},
    {"$": "str", "v": "!"}, {"$": "str", "v": "/w=="}, {"$": "bytes", "v": "a"}, {"$": "bytes", "v": [1]},
    {"$": "bytes"}, {"$": "dict", "v": 5}, {"$": "dict", "v": [1]}, {"$": "dict", "v": [[1]]}, {"$": "dict", "v": "ab"},
    {"$": "dict", "v": [[{"$": "int", "v": 5}, 1], [[], 2], [{}, 3], [{"$": "float", "v": "nan"}, 4]]},
    {"$": "timedelta", "v": ["a"]}, {"$": "timedelta", "v": [10**18, 0, 0]}, {"$": "timedelta", "v": {"a": 1}},
    {"$": "timedelta", "v": [1, 2, 3, 4]}, {"$": "float", "v": {}}, {"$": "float", "v": "1"}, {"$": "set", "v": 5},
    {"$": "datetime", "v": {"$": "int", "v": 5}}, {"$": "date"}, {"$": "path", "v": 1}, {"$": "uuid", "v": None},
    {"$": "unknown", "v": 1}, {"$": None, "v": 1}, {"$": [], "v": 1}, {"$": {}, "v": 1}, {"$": 5}, {"$": "data"},
    {"$": "enum", "n": [], "c": 5}, {"$": "model", "v": {"$": "int", "v": []}}, {"$": "named", "c": "x"},
    {"$": "path", "v": {"$": "str", "v": "!"}}, {"$": "decimal", "v": [["x"]]}, {"$": "tuple"},
    {"$": "frozenset", "v": {}},
]  # fmt: skip


@pytest.mark.parametrize("tree", HOSTILE, ids=lambda tree: json.dumps(tree)[:40])
def test_malformed_values_are_shown_as_they_are_with_a_warning(tree: Any):
    for value in (tree, [tree], {"a": tree}, {"$": "tuple", "v": [tree]}, {"$": "dict", "v": [["k", tree]]}):
        shown = border.show(msgspec.json.encode(value))
        assert shown.warnings
        msgspec.json.encode(shown.value)
        border.plain(value)
    if tree.get("$") != "dict" and tree.get("$") != "model":
        assert border.show(msgspec.json.encode(tree)).value == tree
        again = codec.decode(json.loads(border.across_runs(msgspec.json.encode([tree]))), find_class)
        assert len(again) == 1


def hostile(rng: random.Random, depth: int) -> Any:
    tags = [
        "int",
        "float",
        "str",
        "bytes",
        "dict",
        "tuple",
        "set",
        "timedelta",
        "datetime",
        "path",
        "data",
        "enum",
        "x",
    ]
    if depth <= 0 or rng.random() < 0.2:
        return rng.choice([None, 1, -1.5, True, "", "nan", "12", "aGk=", "!", [], {}, "2026-01-02"])
    made: list[Callable[[], Any]] = [
        lambda: {"$": rng.choice(tags), "v": hostile(rng, depth - 1), "c": "builtins:dict", "n": "x"},
        lambda: {"$": rng.choice(tags), "v": [[hostile(rng, depth - 2), hostile(rng, depth - 1)]]},
        lambda: [hostile(rng, depth - 1) for _ in range(rng.randint(0, 3))],
        lambda: {"k": hostile(rng, depth - 1), rng.choice(["$", "v", "z"]): hostile(rng, depth - 1)},
    ]
    return rng.choice(made)()


@pytest.mark.parametrize("seed", range(20))
def test_no_tree_upsets_the_border_and_none_but_a_codec_error_comes_of_it_in_the_guest(seed: int):
    rng = random.Random(seed)
    for _ in range(200):
        tree = hostile(rng, 6)
        encoded = msgspec.json.encode(tree)
        msgspec.json.encode(border.show(encoded).value)
        msgspec.json.encode(border.plain(tree))
        for given in (tree, json.loads(border.across_runs(encoded))):
            with contextlib.suppress(codec.CodecError):
                codec.decode(given, find_class)


def test_a_tree_of_any_depth_is_shown():
    assert border.plain(nested(5000)) is None


def test_many_keys_that_look_the_same_are_shown_in_good_time():
    shown = border.plain({"$": "dict", "v": [[None, n] for n in range(30_000)]})

    assert isinstance(shown, dict)
    assert len(shown) == 30_000


SHOWN: list[tuple[Any, Any, bool]] = [
    ({"$": 1, "a": 2}, {"$": 1, "a": 2}, False),
    ({"\ud800": 1, "a": "\udc80"}, {"\\ud800": 1, "a": "\\udc80"}, False),
    ({1: "a"}, {"1": "a"}, True),
    ({date(2026, 1, 2): 1}, {"2026-01-02": 1}, True),
    ({Color.RED: 1, Word.NEW: 2}, {"red": 1, "new-item": 2}, False),
    ({Level.LOW: 1}, {"1": 1}, True),
    ([Color.RED, Color.PAIR, Color.PRICE, Word.NEW, Level.LOW], ["red", [1, 2], "1.10", "new-item", 1], False),
    ([Access.READ | Access.WRITE, Mode.B], [3, 4], False),
    (Path("/tmp/\udcff"), "/tmp/\\udcff", False),
    (2**70, 2**70, False),
    (timedelta(minutes=1), 60.0, False),
]


@pytest.mark.parametrize(("value", "expected", "warned"), SHOWN)
def test_values_are_shown_as_people_expect(value: Any, expected: Any, warned: bool):
    shown = border.show(msgspec.json.encode(codec.encode(value)))

    assert shown.value == expected
    assert bool(shown.warnings) is warned


def test_enums_reach_another_run_as_their_values_and_become_members_there():
    value = [Color.RED, Color.PAIR, Color.PRICE, Word.NEW, Access(3), Point(1, Decimal("2.5"))]
    given = codec.decode(json.loads(border.across_runs(msgspec.json.encode(codec.encode(value)))), lambda _: None)

    assert given == ["red", (1, 2), Decimal("1.10"), "new-item", 3, [1, Decimal("2.5")]]
    assert [convert(item, Color) for item in given[:3]] == value[:3]
    assert [convert(item, Color) for item in ("RED", [1, 2], "1.10")] == value[:3]
    assert convert(given[3], Word) is Word.NEW
    assert convert(given[4], Access) == Access(3)
    assert convert([1, "2.5"], Point) == value[5]
    assert convert("abc", Decimal | str) == "abc"
    with pytest.raises(ValueError, match="nothing"):
        convert("nothing", Color)
