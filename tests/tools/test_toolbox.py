import json
import math
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stepwell.errors import ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext, Caller, ToolHost, ToolSpec
from stepwell.tools import DoubtRule, NetworkPolicy, Policy, Secrets, Toolbox, ToolRules, open_toolbox, signature
from stepwell.tools.binding import bind_arguments, make_validator
from stepwell.tools.contents import Contents
from stepwell.tools.messages import clean
from stepwell.tools.ranking import ToolRanking
from stepwell.tools.validating import CheckedSchema
from tools.loopback import CONTEXT, call, local

CALLER = Caller("flow", "0" * 64)
SPEC = ToolSpec(
    name="shop.order",
    description="Order something",
    schema={
        "type": "object",
        "properties": {
            "item": {"type": "string"},
            "count": {"type": "integer", "default": 1},
            "price": {"type": ["number", "null"]},
            "size": {"enum": ["small", "large"]},
            "extra": {},
            "address": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
        "required": ["item"],
        "additionalProperties": False,
    },
)


def bind(*args: Any, **kwargs: Any) -> JsonObject:
    return bind_arguments(SPEC, make_validator(SPEC), list(args), kwargs)


def test_positional_arguments_follow_the_schema() -> None:
    assert bind("tea", 2, price=1) == {"item": "tea", "count": 2, "price": 1}
    assert bind(item="tea", price=None, extra=[{"a": 1}]) == {"item": "tea", "price": None, "extra": [{"a": 1}]}


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "item is missing"),
        (("tea",), {"item": "tea"}, "item is given twice"),
        (("tea", 1, 1, "small", 1, {"city": "x"}, 7), {}, "at most 6 arguments, got 7"),
        ((), {"itm": "tea"}, "has no argument 'itm' (did you mean 'item'?)"),
        ((5,), {}, "item must be str, got int 5"),
        (("tea", "2"), {}, "count must be int, got str '2'"),
        (("tea", 1.5), {}, "count must be int, got float 1.5"),
        (("tea", True), {}, "count must be int, got bool True"),
        (("tea",), {"price": "1"}, "price must be float | None, got str '1'"),
        (("tea",), {"size": "larg"}, "(did you mean 'large'?)"),
        (("tea",), {"address": {}}, "address: city is missing"),
        (("tea",), {"address": {"city": "x", "zip": 1}}, "address: Additional properties"),
        (("tea",), {"extra": math.nan}, "extra cannot be sent as JSON"),
        (("tea",), {"extra": "\ud800"}, "extra cannot be sent as JSON"),
        (("tea",), {"extra": {1, 2}}, "extra cannot be sent as JSON"),
        (("\x1b[2J" + "x" * 5000, "\x1b[2J"), {}, "count must be int"),
    ],
)
def test_wrong_arguments_are_refused_with_what_to_write(
    args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(ToolFailure) as caught:
        bind(*args, **kwargs)
    assert caught.value.code == "invalid_arguments"
    assert caught.value.tool == "shop.order"
    assert said in caught.value.message
    assert "Call it as tools.shop.order(item: str, count: int = 1" in caught.value.message
    assert "\x1b" not in caught.value.message


def test_many_mistakes_are_counted() -> None:
    with pytest.raises(ToolFailure, match="; and more"):
        bind(1, "x", price="x", size=1, address=1, item="x", unknown=1)


def test_the_signature_is_python() -> None:
    assert signature(SPEC) == (
        "shop.order(item: str, count: int = 1, price: float | None = ..., size: Literal['small', 'large'] = ..., "
        "extra: Any = ..., address: dict = ...) -> str"
    )


def test_messages_are_harmless_and_bounded() -> None:
    assert clean("a\x00\x1b[31m\u202eb\u2028\ud800\r\nc\td") == "a[31mb\nc\td"
    assert len(clean("x" * 10_000_000)) == 2000


@pytest.mark.parametrize(
    ("rules", "policy"),
    [
        ({}, "allow"),
        ({"*": "deny"}, "deny"),
        ({"*": "deny", "fetch": "allow"}, "allow"),
        ({"fetch": "allow", "*": "deny"}, "deny"),
        ({"f?tch": "approve"}, "approve"),
        ({"Fetch": "deny"}, "allow"),
    ],
)
@pytest.mark.asyncio
async def test_of_the_policy_patterns_that_match_the_last_counts(rules: Any, policy: str) -> None:
    async with open_toolbox(rules=ToolRules(rules)) as box:
        spec = box.find_tool("fetch")
    assert spec is not None
    assert spec.policy == policy


@pytest.mark.asyncio
async def test_a_denied_tool_can_be_neither_bound_nor_called_nor_found_by_search() -> None:
    async with open_toolbox(network=local(), rules=ToolRules({"curl.*": "deny"})) as box:
        spec = box.find_tool("curl.get")
        assert spec is not None
        with pytest.raises(ToolFailure, match="policy denies") as caught:
            box.bind(spec, ["http://localhost/"], {})
        assert caught.value.code == "not_allowed"
        with pytest.raises(ToolFailure, match="policy denies"):
            await box.call(spec, {"url": "http://localhost/"}, CONTEXT)
        found = await box.search_tools("", 99)
        assert found.items
        assert all(hit.spec.policy != "deny" for hit in found.items)


@pytest.mark.asyncio
async def test_in_doubt_rules_decide_what_is_repeated() -> None:
    async with open_toolbox(rules=ToolRules({}, {"*": DoubtRule("retry"), "fetch": DoubtRule("ask")})) as box:
        repeatable = {spec.name: spec.repeatable for spec in box.list_tools()}
    assert repeatable == {"curl.get": True, "curl.head": True, "curl.post": True, "fetch": False, "http.request": True}
    async with open_toolbox() as box:
        repeatable = {spec.name: spec.repeatable for spec in box.list_tools()}
    assert repeatable == {"curl.get": True, "curl.head": True, "curl.post": False, "fetch": True, "http.request": False}


@pytest.mark.asyncio
async def test_the_toolbox_is_a_tool_host_with_json_schemas() -> None:
    async with open_toolbox() as box:
        host: ToolHost = box
        names = [spec.name for spec in host.list_tools()]
        assert names == sorted(names)
        assert host.find_tool("nothing") is None
        json.dumps([spec.schema for spec in host.list_tools()])
        unknown = ToolSpec("gone", "", {"type": "object"})
        with pytest.raises(ToolFailure, match="no tool gone"):
            host.bind(unknown, [], {})


@pytest.mark.asyncio
async def test_urls_of_unlisted_hosts_are_refused_when_they_are_bound() -> None:
    async with open_toolbox() as box:
        for name in ("fetch", "curl.get"):
            with pytest.raises(ToolFailure, match="allow-list") as caught:
                await call(box, name, "http://example.com/")
            assert caught.value.code == "not_allowed"


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("create an issue", "github.createIssue"),
        ("issues", "github.listIssues"),
        ("github.list_repos", "github.list_repos"),
        ("weather tomorrow", "forecast"),
    ],
)
@pytest.mark.asyncio
async def test_search_ranks_by_the_words_of_names_and_descriptions(query: str, first: str) -> None:
    tools = [
        ToolSpec("github.createIssue", "Open a new issue in a repository", {}),
        ToolSpec("github.listIssues", "List issues", {}),
        ToolSpec("github.list_repos", "List repositories", {}),
        ToolSpec("forecast", "The weather of the next days", {}),
    ]
    ranking = ToolRanking()

    async def found(query: str, limit: int) -> list[str]:
        return [hit.spec.name for hit in (await ranking.search(tools, query, limit)).items]

    assert (await found(query, 3))[0] == first
    assert await found("  ", 2) == ["forecast", "github.createIssue"]
    assert await found("zebra", 5) == []
    assert await found("list", 0) == []
    ranking.close()


@pytest.mark.asyncio
async def test_search_notices_tools_that_come_change_and_go() -> None:
    ranking = ToolRanking()
    many = [ToolSpec(f"files.copy_{n}", "Copy a file", {}) for n in range(400)]
    mail = ToolSpec("mail.send", "Send a letter", {"properties": {"to": {"description": "The recipient's address"}}})

    async def found(tools: list[ToolSpec], query: str) -> list[str]:
        return [hit.spec.name for hit in (await ranking.search(tools, query, 3)).items]

    assert await found(many, "send a letter") == []
    assert await found([*many, mail], "send a letter") == ["mail.send"]
    assert await found([*many, mail], "recipients") == ["mail.send"]
    assert await found([*many, replace(mail, description="Post a parcel")], "parcels") == ["mail.send"]
    assert await found(many, "parcels") == []
    assert (await found(many, "FILES COPY 17"))[0] == "files.copy_17"
    ranking.close()


class Changing:
    """A source whose one tool says something else after `change`."""

    name, section, problem, revision = "shop", "shop", "", 0

    def __init__(self) -> None:
        self.called = 0
        self.spec = ToolSpec("shop.pay", "Pay.", {"type": "object", "properties": {}})

    def change(self) -> None:
        self.spec, self.revision = replace(self.spec, description="Pay all of it."), 1

    def tools(self) -> list[Any]:
        return [self]

    async def prepare(self, missing: str = "") -> None:
        return

    def check(self, arguments: JsonObject) -> None:
        return

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        return ()

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        self.called += 1
        return "paid"


@pytest.mark.asyncio
@pytest.mark.parametrize("policy", ["allow", "approve", "person"])
async def test_an_approval_is_void_if_the_tool_has_changed_before_the_call_leaves(policy: Policy) -> None:
    source = Changing()
    box = Toolbox(lambda: Contents([], [source], ()), ToolRules({"*": policy}), NetworkPolicy(), Secrets())
    spec = box.admit("shop.pay", CALLER)
    before = box.gate(spec, {}, CALLER)
    source.change()
    assert (box.gate(box.admit("shop.pay", CALLER), {}, CALLER) == before) is (policy == "allow")
    if policy == "allow":
        assert await box.call(spec, {}, CONTEXT) == "paid"
        return
    with pytest.raises(ToolFailure, match="changed since the call was approved"):
        await box.call(spec, {}, CONTEXT)
    assert source.called == 0
    assert await box.call(box.admit("shop.pay", CALLER), {}, CONTEXT) == "paid"


PLAIN: JsonObject = {"type": "object", "properties": {"s": {"type": "string", "title": "S"}, "n": {"type": "number"}}}
INSIDE = (
    {"type": "integer"},
    {"type": "boolean"},
    {"type": ["string", "null"]},
    {"type": "string", "maxLength": 1},
    {},
    True,
)
GIVEN: tuple[Json, ...] = ("x", "long", 1, 1.0, 1.5, True, None, [], {})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"required": ["s"]},
        {"additionalProperties": False},
        {"additionalProperties": {"type": "null"}},
        {"maxProperties": 1},
    ],
)
def test_arguments_fit_as_the_schema_says_whether_it_is_plain_or_not(more: JsonObject):
    for inside in INSIDE:
        schema: JsonObject = PLAIN | more | {"properties": {**PLAIN["properties"], "i": inside}}
        checked, judge = CheckedSchema(schema), Draft202012Validator(schema)
        values: list[Json] = [{}, [], None, *({name: value} for name in ("s", "n", "i", "other") for value in GIVEN)]
        values += [{"s": "x", "i": value} for value in GIVEN]
        for value in values:
            assert bool(checked.find_errors(value)[0]) is not judge.is_valid(value), (schema, value)
