"""Operations of an HTTP service, read from its OpenAPI document."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepwell.errors import ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import Binary, Caller, KeyPlace
from stepwell.tools import ToolRules, open_toolbox, signature
from stepwell.tools.openapi import OpenApi
from stepwell.tools.openapi.operations import BadDocument, read_operations
from tools.loopback import CONTEXT, Site, call, local

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "paths": {
        "/orders/{order-id}": {
            "parameters": [{"$ref": "#/components/parameters/Order"}],
            "get": {
                "operationId": "get-order",
                "summary": "Return an order.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}}}
                },
            },
            "delete": {"responses": {"204": {}}},
        },
        "/orders": {
            "post": {
                "operationId": "create_order",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
                "responses": {"201": {}},
            }
        },
        "/picture": {"get": {"operationId": "picture", "responses": {}}},
    },
    "components": {
        "parameters": {"Order": {"name": "order-id", "in": "path", "required": True, "schema": {"type": "string"}}},
        "schemas": {
            "Order": {
                "type": "object",
                "required": ["item"],
                "properties": {
                    "item": {"type": "string"},
                    "note": {"type": "string", "nullable": True},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}},
                },
            }
        },
    },
}


def box_of(site: Site, document: Path, *, keys: Mapping[str, KeyPlace] | None = None, base: bool = True) -> Any:
    api = OpenApi("shop", str(document), site.url("/v1", "127.0.0.1") if base else "", {"Authorization": "Bearer t"})
    return open_toolbox(network=local(), apis=[api], rules=ToolRules(keys=keys or {}))


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump(DOCUMENT))
    return path


@pytest.mark.asyncio
async def test_operations_become_typed_tools(site: Site, document: Path) -> None:
    async with box_of(site, document) as box:
        await box.prepare()
        specs = {spec.name: spec for spec in box.list_tools() if spec.name.startswith("shop.")}
        assert [signature(spec) for spec in specs.values()] == [
            "shop.create_order(body: dict) -> Any",
            "shop.delete_orders_order_id(order_id: str) -> Any",
            "shop.get_order(order_id: str, fields: list = ..., X_Trace: str = ...) -> dict",
            "shop.picture() -> Any",
        ]
        facts = {name: (spec.read_only, spec.idempotent, spec.policy) for name, spec in specs.items()}
        assert facts["shop.get_order"] == (True, False, "allow")
        assert facts["shop.create_order"] == (False, False, "allow")
        assert facts["shop.delete_orders_order_id"] == (False, True, "approve")
        assert specs["shop.get_order"].origin == "GET /orders/{order-id} of shop"
        with pytest.raises(ToolFailure, match=r"body\.item|item is missing"):
            await call(box, "shop.create_order", body={"note": None, "parts": [{"item": 5}]})
        with pytest.raises(ToolFailure, match=r"body\.parts\.0\.item must be str"):
            await call(box, "shop.create_order", body={"item": "a", "note": None, "parts": [{"item": 5}]})


@pytest.mark.asyncio
async def test_arguments_go_where_the_document_says(site: Site, document: Path) -> None:
    site.page("/v1/orders/a%2Fb%20c", b'{"item": "tea"}', headers={"Content-Type": "application/json"})
    site.page("/v1/orders", b"", status="201 Created")
    async with box_of(site, document) as box:
        await box.prepare()
        found = await call(box, "shop.get_order", order_id="a/b c", fields=["x", "y&z"], X_Trace="7")
        assert found == {"item": "tea"}
        assert await call(box, "shop.create_order", body={"item": "tea"}) is None
        read, made = site.received
        assert (read.method, read.query, read.headers["x-trace"]) == ("GET", "fields=x&fields=y%26z", "7")
        assert read.headers["authorization"] == "Bearer t"
        assert (made.method, json.loads(made.body)) == ("POST", {"item": "tea"})
        for wrong in ("..", ""):
            with pytest.raises(ToolFailure, match="order_id cannot be"):
                await call(box, "shop.get_order", order_id=wrong)


@pytest.mark.asyncio
async def test_answers_are_errors_values_or_artifacts(site: Site, document: Path) -> None:
    site.page("/v1/picture", b"\x89PNG", headers={"Content-Type": "image/png"})
    site.page("/v1/orders/1", b"gone", status="404 Not Found")
    site.page("/v1/orders/2", b"{", headers={"Content-Type": "application/json"})

    async def save(binary: Binary) -> JsonObject:
        return {"size": len(binary.data), "media_type": binary.media_type}

    async with box_of(site, document) as box:
        await box.prepare()
        spec = box.find_tool("shop.picture")
        assert await box.call(spec, {}, replace(CONTEXT, save=save)) == {"size": 4, "media_type": "image/png"}
        for order, code, said in (("1", "http_error", "404 Not Found: gone"), ("2", "bad_answer", "no valid JSON")):
            with pytest.raises(ToolFailure, match=said) as caught:
                await call(box, "shop.get_order", order_id=order)
            assert caught.value.code == code


@pytest.mark.asyncio
async def test_a_host_that_only_the_document_names_is_for_a_person_to_allow(site: Site, document: Path) -> None:
    text = json.dumps(DOCUMENT | {"servers": [{"url": site.url("/v1", "127.0.0.1")}]})
    await asyncio.to_thread(document.write_text, text)
    async with box_of(site, document, base=False) as box:
        await box.prepare()
        spec = box.find_tool("shop.picture")
        gate = box.gate(spec, {}, Caller("w", "0" * 64))
        assert gate is not None
        assert gate.hosts == ("127.0.0.1",)
        with pytest.raises(ToolFailure, match="not on the allow-list"):
            await call(box, "shop.picture")


@pytest.mark.asyncio
async def test_the_idempotency_key_goes_where_the_operator_says(site: Site, document: Path) -> None:
    site.page("/v1/orders", b"")
    keys = {"shop.create_*": KeyPlace("header", "Idempotency-Key"), "shop.get_order": KeyPlace("header", "X")}
    async with box_of(site, document, keys=keys) as box:
        await box.prepare()
        spec = box.find_tool("shop.create_order")
        assert spec.repeatable
        assert box.find_tool("shop.get_order").key_place is None
        await call(box, "shop.create_order", body={"item": "tea"})
        assert site.received[0].headers["idempotency-key"] == CONTEXT.idempotency_key


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "neither JSON nor YAML"),
        ("- 1", "no OpenAPI document"),
        ('{"swagger": "2.0"}', "Swagger 2 is not supported"),
        ('{"openapi": "3.1.0", "paths": {"/x": {"get": {"parameters": 5}}}}', "cannot be read"),
        ('{"openapi": "3.1.0", "paths": {}}', "does not say where the service is"),
        (None, "No such file"),
    ],
)
async def test_a_document_that_cannot_be_used_is_named(site: Site, tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "api.json"
    if text is not None:
        path.write_text(text)
    async with box_of(site, path, base="where" not in said) as box:
        await box.prepare("shop.x")
        assert said in box.problems[0]
        assert (await box.missing("shop.x")).code == "not_started"


def test_a_document_of_references_without_end_is_bounded() -> None:
    schemas = {f"S{n}": {"properties": {"a": {"$ref": f"#/components/schemas/S{(n + 1) % 3000}"}}} for n in range(3000)}
    looped = {"$ref": "#/components/parameters/P"}
    paths = {
        "/x": {
            "get": {"parameters": [looped, {"name": "q", "in": "query", "schema": {"$ref": "#/components/schemas/S0"}}]}
        }
    }
    document: Any = {
        "openapi": "3.1.0",
        "paths": paths,
        "components": {"schemas": schemas, "parameters": {"P": looped}},
    }
    (operation,) = read_operations(document)
    assert len(json.dumps(operation.schema)) < 70_000
    with pytest.raises(BadDocument):
        read_operations({"openapi": 3})
