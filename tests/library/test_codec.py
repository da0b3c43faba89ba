"""The codec by itself: what goes in comes out, and what does not is refused with its place."""

import dataclasses
import enum
import itertools
import json
import math
import random
import threading
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pytest

from stepwell.engine import border
from stepwell.sdk import codec
from stepwell.sdk.step import find_class

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    PAIR = (1, 2)
    PRICE = Decimal("1.10")


class Word(enum.StrEnum):
    NEW = "new-item"


class Level(enum.IntEnum):
    LOW = 1


class Mixed(str, enum.Enum):  # noqa: UP042  as older code writes it
    ONE = "one"


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Mode(enum.IntFlag):
    A = 1
    B = 4


class Callables(enum.Enum):
    LOCK = threading.Lock


class Point(NamedTuple):
    x: int
    y: Decimal


class Strict(NamedTuple("Strict", [("a", int)])):
    def __new__(cls, text: str) -> "Strict":
        return super().__new__(cls, int(text))


@dataclass
class Plain:
    a: int
    b: list[Any] = field(default_factory=list[Any])


@dataclass(frozen=True, slots=True)
class Frozen:
    when: date
    inner: Plain | None = None


@dataclass(kw_only=True)
class Child(Plain):
    c: str


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Late:
    a: int
    never: int = field(init=False)
    twice: int = field(init=False)

    def __post_init__(self) -> None:
        self.twice = self.a * 2
        self.extra = [self.a]
        self.lock = threading.Lock()


@dataclass
class Items(dict[str, int]):
    name: str = ""


@dataclass
class Node:
    links: list["Node"] = field(default_factory=list["Node"])


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self


def travel(value: Any) -> Any:
    return codec.decode(json.loads(json.dumps(codec.encode(value), allow_nan=False)), find_class)


SAME: list[Any] = [
    None, True, 0, -1, 2**62, 2**63, -(2**63), 2**200, 0.0, -0.0, 1e300, 0.1, math.inf, -math.inf,
    "", "text", "\ud800 lone", "ключ\n\0", b"", b"\xff\0", [], {}, (), set(), frozenset({1}), [[[]]],
    {"$": 1}, {"$": "int", "v": 5}, {1: "a", None: "b", (1, 2): "c", "x": "d"}, {"\udc80": 1}, {True: 1},
    {1, "a", (2, 3), frozenset({4})}, (1, [2, (3,)]), {date(2026, 1, 2): {b"k": Decimal("1.10")}},
    datetime(2026, 1, 2, 3, 4, 5, 6), datetime(2026, 1, 2, tzinfo=UTC), date.min, time(1, 2, 3, 4),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))), time(1, tzinfo=UTC),
    timedelta(days=-1, microseconds=1), timedelta.max, Decimal("1E+5"), Decimal("-Infinity"), UUID(int=5),
    Path("/a/b"), Path("/tmp/\udcff"),
    Color.RED, Color.PAIR, Color.PRICE, Word.NEW, Level.LOW, Mixed.ONE, Callables.LOCK,
    Access.READ, Access.READ | Access.WRITE, Access(0), Mode.A | Mode.B, {Color.RED: 1}, {Word.NEW: 1},
    Point(1, Decimal(2)), Strict("5"), Plain(1, [Plain(2)]), Frozen(date.min, Plain(3)), {Frozen(date.min): 1},
    Child(a=1, c="c"), Box((1,)), Box(Color.PAIR),
]  # fmt: skip


@pytest.mark.parametrize("value", SAME, ids=lambda value: type(value).__name__)
def test_values_come_back_equal_and_of_the_same_type(value: Any):
    again = travel(value)

    assert again == value
    assert type(again) is type(value)
    assert repr(again) == repr(value) or isinstance(value, (set, frozenset))


def test_not_a_number_comes_back():
    assert math.isnan(travel(math.nan))
    assert travel(Decimal("NaN")).is_nan()


BECOMES: list[tuple[Callable[[], Any], Any]] = [
    (lambda: (n for n in [1, 2]), [1, 2]),
    (lambda: map(str, [1]), ["1"]),
    (lambda: {"rows": zip("a", "b", strict=True)}, {"rows": [("a", "b")]}),
    (lambda: range(3), [0, 1, 2]),
    ({"a": 1}.keys, ["a"]),
    ({"a": 1}.items, [("a", 1)]),
    (lambda: Counter("aa"), {"a": 2}),
    (lambda: OrderedDict(a=1), {"a": 1}),
    (lambda: defaultdict(list, a=[1]), {"a": [1]}),
    (lambda: bytearray(b"x"), b"x"),
    (lambda: memoryview(b"x"), b"x"),
    (lambda: Text("x"), "x"),
]


@pytest.mark.parametrize(("make", "expected"), BECOMES)
def test_what_is_like_a_plain_value_becomes_one(make: Callable[[], Any], expected: Any):
    again = travel(make())

    assert again == expected
    assert type(again) is type(expected)


def make_value(rng: random.Random, depth: int) -> Any:
    leaves: list[Callable[[], Any]] = [
        lambda: rng.choice([None, True, False, math.inf, "", "$", "v", Color.PRICE, Word.NEW, Access(3), Level.LOW]),
        lambda: rng.randint(-(10 ** rng.randint(0, 40)), 10 ** rng.randint(0, 40)),
        rng.random,
        lambda: "".join(chr(rng.choice([rng.randrange(128), rng.randrange(0xD7F0, 0xE010), 0x1F600])) for _ in "abc"),
        lambda: rng.randbytes(rng.randint(0, 5)),
        lambda: Decimal(rng.randint(-999, 999)).scaleb(rng.randint(-9, 9)),
        lambda: datetime(2026, 1, 1, tzinfo=rng.choice([None, UTC])) + timedelta(microseconds=rng.randrange(10**15)),
        lambda: timedelta(seconds=rng.randint(-(10**9), 10**9), microseconds=rng.randrange(10**6)),
        lambda: UUID(int=rng.getrandbits(128)),
    ]
    if depth <= 0 or rng.random() < 0.3:
        return rng.choice(leaves)()

    def inner() -> Any:
        return make_value(rng, depth - 1)

    def leaf() -> Any:
        return rng.choice(leaves)()

    def many(make: Callable[[], Any]) -> Iterator[Any]:
        return (make() for _ in range(rng.randint(0, 4)))

    nodes: list[Callable[[], Any]] = [
        lambda: list(many(inner)),
        lambda: tuple(many(inner)),
        lambda: dict(zip(many(leaf), many(inner), strict=False)),
        lambda: {"$": inner(), "v": inner()},
        lambda: set(many(leaf)),
        lambda: frozenset(many(leaf)),
        lambda: Plain(1, [inner()]),
        lambda: Box(inner()),
        lambda: Child(a=2, b=list(many(inner)), c="c"),
        lambda: Point(rng.randrange(9), Decimal(1)),
    ]
    return rng.choice(nodes)()


@pytest.mark.parametrize("seed", range(20))
def test_any_value_comes_back_and_can_be_shown(seed: int):
    rng = random.Random(seed)
    for _ in range(60):
        value = make_value(rng, 5)
        again = travel(value)

        assert again == value
        assert type(again) is type(value)
        assert codec.encode(again) == codec.encode(value)
        encoded = msgspec.json.encode(codec.encode(value))
        msgspec.json.encode(border.show(encoded).value)
        codec.decode(json.loads(border.across_runs(encoded)), find_class)


def test_dataclasses_keep_what_is_no_field_and_lack_what_was_never_set():
    again: Late = travel(Late(2))

    assert dataclasses.replace(again).twice == 4
    assert (again.a, again.twice, again.extra) == (2, 4, [2])
    assert not hasattr(again, "never")
    assert not hasattr(again, "lock")
    assert border.plain(codec.encode(Late(2))) == {"a": 2, "twice": 4}


def test_objects_that_refer_to_each_other_are_refused_in_good_time():
    nodes = [Late(n) for n in range(6)]
    for node in nodes:
        node.extra = nodes  # pyright: ignore[reportAttributeAccessIssue]
        node.peers = nodes  # pyright: ignore[reportAttributeAccessIssue]
    assert travel(nodes[1]).a == 1

    ring = Node()
    ring.links = [ring, ring]
    with pytest.raises(codec.CodecError, match="holds itself"):
        codec.encode(ring, "the ring")


class Shy:
    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise ValueError("who asks?")


def broken() -> Iterator[int]:
    yield 1
    raise ValueError("no more")


async def later() -> int:
    return 1


async def items() -> Any:
    yield 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: Items("x"), "a dataclass that is a dict too"),
    (object, "builtins.object, which cannot be stored"),
    (threading.Lock, "cannot be stored"),
    (lambda: nested(3000), "nested too deep"),
    (itertools.count, "no end"),
    (broken, "cannot be stored: ValueError: no more"),
    (items, "async generator"),
    (Path(__file__).open, "cannot be stored"),
    (Shy, "who asks"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_be_stored_is_refused_with_its_place(make: Callable[[], Any], message: str):
    value = make()
    with pytest.raises(codec.CodecError, match=message) as caught:
        codec.encode({"data": value}, "the result of step 'x'")
    assert str(caught.value).startswith("the result of step 'x'")
    if hasattr(type(value), "close"):
        value.close()


def test_a_coroutine_is_refused_with_what_to_write():
    work = later()
    with pytest.raises(codec.CodecError, match="write `await`"):
        codec.encode(work)
    work.close()


def test_nested_values_that_are_accepted_fit_into_a_frame():
    deepest = 0
    for depth in range(60):
        value: Any = 1
        for _ in range(depth):
            value = {1: Box((value,))}
        try:
            text = json.dumps(codec.encode(value))
        except codec.CodecError:
            break
        deepest = max(itertools.accumulate((c in "[{") - (c in "]}") for c in text))
    assert 40 < deepest <= codec.MAX_DEPTH


def test_settled_reads_each_iterator_once_and_copies_nothing_else():
    rows = (n for n in [1, 2])
    lock = threading.Lock()
    plain = [1, {"a": (lock,)}]
    loop: list[Any] = [1]
    loop.append(loop)

    assert codec.settled(rows) == [1, 2]
    assert codec.settled(((iter("ab"), 1), {"k": map(str, [1])})) == ((["a", "b"], 1), {"k": ["1"]})
    assert codec.settled(plain) is plain
    assert codec.settled(loop) is loop
    shared = iter([1])
    assert codec.settled([shared, shared]) == [[1], [1]]
    with open(__file__, "rb") as file:
        assert codec.settled([file])[0] is file
    with pytest.raises(ValueError, match="no more"):
        codec.settled(broken())
    with pytest.raises(codec.CodecError, match="no end"):
        codec.settled(itertools.count())
