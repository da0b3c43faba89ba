"""`key=value` by a workflow's schema."""

from typing import Any

import pytest

from stepwell.errors import InvalidArguments
from stepwell_server.cli.arguments import type_pairs

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer"},
        "size": {"type": "number"},
        "on": {"type": "boolean"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "mode": {"enum": ["fast", "slow", 3, None]},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "words": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]},
        "point": {"$ref": "#/$defs/Point"},
        "loop": {"$ref": "#/$defs/Loop"},
        "anything": {},
    },
    "$defs": {
        "Point": {"type": "object", "properties": {"x": {"type": "number"}}},
        "Loop": {"$ref": "#/$defs/Loop"},
    },
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("pairs", "typed"),
    [
        ([("text", "5")], {"text": "5"}),
        ([("text", "")], {"text": ""}),
        ([("text", "a=b")], {"text": "a=b"}),
        ([("text", "null")], {"text": "null"}),
        ([("count", "-5")], {"count": -5}),
        ([("size", "2")], {"size": 2}),
        ([("size", "2.5e1")], {"size": 25.0}),
        ([("on", "yes")], {"on": True}),
        ([("on", "False")], {"on": False}),
        ([("maybe", "null")], {"maybe": None}),
        ([("maybe", "3")], {"maybe": 3}),
        ([("either", "3")], {"either": 3}),
        ([("either", "three")], {"either": "three"}),
        ([("mode", "slow")], {"mode": "slow"}),
        ([("mode", "3")], {"mode": 3}),
        ([("mode", "null")], {"mode": None}),
        ([("numbers", "[1, 2]")], {"numbers": [1, 2]}),
        ([("numbers", "1"), ("numbers", "2")], {"numbers": [1, 2]}),
        ([("words", "a"), ("words", "b")], {"words": ["a", "b"]}),
        ([("words", '["a"]')], {"words": ["a"]}),
        ([("point", '{"x": 1}')], {"point": {"x": 1}}),
        ([("loop", "1")], {"loop": 1}),
        ([("anything", "[1]")], {"anything": [1]}),
        ([("anything", "as it is")], {"anything": "as it is"}),
    ],
)
def test_a_text_becomes_what_the_schema_says(pairs: list[tuple[str, str]], typed: dict[str, Any]) -> None:
    assert type_pairs(pairs, SCHEMA) == typed


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("count", "five")], "a whole number"),
        ([("count", "2.5")], "a whole number"),
        ([("count", "9" * 5000)], "a whole number"),
        ([("size", "nan")], "a number"),
        ([("on", "2")], "true or false"),
        ([("mode", "medium")], '"fast", "slow", 3, null'),
        ([("numbers", "1,2")], "a JSON list"),
        ([("numbers", "1"), ("numbers", "x")], "a whole number"),
        ([("point", "[1]")], "a JSON object"),
        ([("text", "a"), ("text", "b")], "2 times"),
        ([("cuont", "1")], "cuont"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_with_what_would(pairs: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        type_pairs(pairs, SCHEMA)

    assert said in refused.value.message
    assert refused.value.hint


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(InvalidArguments) as refused:
        type_pairs([("cuont", "1")], SCHEMA)

    assert "Did you mean count?" in refused.value.hint
