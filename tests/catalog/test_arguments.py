from typing import Any

import pytest

from catalog.sources import TYPES
from stepwell.catalog.analysis import analyse
from stepwell.catalog.validate import check_arguments
from stepwell.errors import InvalidArguments

SOURCE = "def run(url: str, depth: int = 2, headers: dict = None) -> dict: ..."
JSON = "J = dict[str, 'J'] | list['J'] | str | int | None\ndef run(value: J) -> None: ..."


def refusal(source: str, arguments: Any) -> str:
    with pytest.raises(InvalidArguments) as caught:
        check_arguments(analyse(source, name="fetch"), arguments)
    assert caught.value.hint.startswith("Call it as fetch(")
    return caught.value.message


def nested(depth: int, leaf: object) -> object:
    for _ in range(depth):
        leaf = [leaf]
    return leaf


def test_fitting_arguments_are_copied_and_defaults_are_left_out() -> None:
    given = {"url": "x", "headers": None}
    checked = check_arguments(analyse(SOURCE, name="fetch"), given)
    assert checked == given
    assert checked is not given


def test_every_problem_is_named_in_words() -> None:
    message = refusal(SOURCE, {"depth": "x", "headrs": {}})
    assert "url: missing (string, required)" in message
    assert "depth: 'x' is no integer" in message
    assert "headrs: unknown, did you mean headers?" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "they must be an object of named values, not a list"),
        ("{}", "not text"),
        ({"url": "x", "depth": True}, "depth: True is no integer"),
        ({"url": "x", "headers": [1]}, "headers: a list of 1 is no object or null"),
        ({"url": "x", "other": 1}, "other: unknown, known: url, depth, headers"),
        ({1: 2}, "the name 1 is no string"),
        ({"url": "x", "headers": {1: 2}}, "the name 1 is no string"),
        ({"url": object()}, "url: object is no JSON"),
        ({"url": float("nan")}, "url: nan is no JSON number"),
        ({"url": "\ud800"}, "half of a surrogate pair"),
        ({"url": "x" * 2_000_000}, "at most 1,048,576 are accepted"),
        ({"url": 10**5000}, "more than 300 digits"),
        ({"url": nested(100_000, 1)}, "nested more than 64 levels"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: Any, words: str) -> None:
    assert words in refusal(SOURCE, arguments)


def test_an_object_that_contains_itself_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    assert "nested more than 64 levels" in refusal(SOURCE, {"url": cycle})


def test_problems_inside_typed_values_have_a_path() -> None:
    arguments: dict[str, Any] = {
        "tree": {"name": "a", "children": [{"name": 3}, {"nam": "b"}], "color": "green"},
        "when": "yesterday",
        "options": {"limit": "x"},
        "extra": [1, {"a": None}],
    }
    message = refusal(TYPES, arguments)
    assert "tree.children[0].name: 3 is no string" in message
    assert "tree.children[1].name: missing (string, required)" in message
    assert "tree.children[1].nam: unknown, did you mean name?" in message
    assert "tree.color: 'green' is no one of 'red', 'blue'" in message
    assert "when: 'yesterday' is no date-time" in message
    assert "options.limit: 'x' is no integer" in message
    assert "extra" not in message


def test_many_problems_are_cut() -> None:
    message = refusal("def run(values: list[int]) -> None: ...", {"values": ["x"] * 1000})
    assert message.count("is no integer") == 20
    assert message.endswith("and more.")


def test_a_problem_with_the_meant_choice_of_a_union_is_shown() -> None:
    source = "@dataclass\nclass Node:\n    name: str\ndef run(node: Node | None) -> None: ..."
    assert "node.name: missing (string, required)" in refusal(source, {"node": {}})


def test_deep_values_that_fit_are_accepted() -> None:
    value = nested(60, 1)
    assert check_arguments(analyse(JSON, name="x"), {"value": value}) == {"value": value}


def test_a_union_that_refers_to_itself_twice_is_not_tried_for_ever() -> None:
    source = "A = list['A'] | tuple['A']\ndef run(value: A) -> None: ..."
    assert "too deeply nested for the types" in refusal(source, {"value": nested(60, 1)})


def test_any_value_fits_a_parameter_without_hint() -> None:
    for value in (1, "x", None, [1], {"a": 1.5}):
        assert check_arguments(analyse("def run(value): ...", name="x"), {"value": value}) == {"value": value}


def test_further_arguments_fit_where_the_entry_takes_them() -> None:
    assert check_arguments(analyse("def run(**rest): ...", name="x"), {"a": 1}) == {"a": 1}
