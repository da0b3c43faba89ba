import tomllib
from collections.abc import Iterator
from typing import Any

from stepwell_server.toml_lines import find_lines

DOCUMENT = r"""
title = "a # b" # key: title
dates = [1979-05-27T07:32:00Z, 07:32:00] # key: dates.0 dates.1
"quoted" . 'x y' = { a . b = 1, "c" = [ {d = 1}, {e = "]}"} ] } # key: quoted.x y.a.b quoted.x y.c.0.d quoted.x y.c.1.e
multi = QQQ # key: multi
a = 1
[not] QQQ
lit = '''# key: lit
x = 2'''
[a . "b"]
n = +1_000.5e-3 # key: a.b.n
arr = [
  [1,2], # ] # key: a.b.arr.0.0 a.b.arr.0.1
  [ "x", ], # key: a.b.arr.1.0
]
"\u0061" = 1 # key: a.b.a
[[t]]
k = 1 # key: t.0.k
[[t]]
k = 2 # key: t.1.k
  [t.sub]
  z = -inf # key: t.1.sub.z
[[t.arr]]
q="" # key: t.1.arr.0.q
""".replace("QQQ", '"""')


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from paths(inner, (*path, str(key)))  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        for index, inner in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from paths(inner, (*path, str(index)))
    else:
        yield path


def test_every_value_is_found_on_its_line() -> None:
    lines = find_lines(DOCUMENT)
    text = DOCUMENT.split("\n")
    found = list(paths(tomllib.loads(DOCUMENT)))
    assert len(found) == 17
    for path in found:
        assert ".".join(path) in text[lines[path] - 1].partition("key: ")[2]


def test_a_text_that_cannot_be_followed_keeps_the_lines_so_far() -> None:
    assert find_lines("a = 1\n[b]\n= 2") == {("a",): 1, ("b",): 2}
