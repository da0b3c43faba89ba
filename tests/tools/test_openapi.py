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


def laughs(merged: str = "") -> str:
    levels = [f"a{n}: &a{n}\n  {merged}[{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)]
    return "a0: &a0 {b: c}\n" + "".join(levels)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "neither JSON nor YAML"),
        ("- 1", "no OpenAPI document"),
        ("[" * 100_000, "nested more than 200 deep"),
        ("a: &a [*a]", "stands for itself"),
        (laughs(), "aliases stand for more than"),
        (laughs("<<: "), "aliases stand for more than"),
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


def test_names_of_parameters_and_fields_are_no_words_of_openapi() -> None:
    fields = {"example": {"type": "string", "example": "x"}, "nullable": {"type": "string", "nullable": True}}
    parameters = [{"name": "xml", "in": "query", "required": True, "schema": {"default": {"xml": 1}, "xml": {}}}]
    body = {"content": {"application/json": {"schema": {"properties": fields, "required": ["example"]}}}}
    get = {"parameters": [{"$ref": "#/paths/~1x/post/parameters/0"}], "responses": {200: {}}}
    document: Any = {
        "openapi": "3.0.0",
        "paths": {"/x": {"get": get, "post": {"parameters": parameters, "requestBody": body}}},
    }
    found = {operation.method: operation.schema for operation in read_operations(document).found}
    assert found["GET"]["properties"] == {"xml": {"default": {"xml": 1}}}
    assert found["POST"]["properties"]["body"]["properties"] == {
        "example": {"type": "string"},
        "nullable": {"type": ["string", "null"]},
    }


def test_what_one_operation_may_have_is_bounded() -> None:
    many = [{"name": f"p{n}", "in": "query", "schema": {}} for n in range(501)]
    text = "x" * 60_000
    wide = [{"name": "p", "in": "query", "schema": {"enum": [text, text]}}]
    made = read_operations(
        {"openapi": "3.1.0", "paths": {"/x": {"get": {"parameters": many}, "post": {"parameters": wide}}}}
    )
    assert [left.reason for left in made.left_out] == ["it has more than 500 parameters"]
    assert list(made.found[0].schema["properties"]["p"]) == ["description"]


@pytest.mark.asyncio
async def test_what_is_left_out_of_a_document_that_is_no_yaml_is_named(site: Site, tmp_path: Path) -> None:
    paths = {"/x": {"get": {"operationId": "x"}}, "/{y}": {"get": {}}}
    path = tmp_path / "api.json"
    path.write_text(json.dumps({"openapi": "3.1.0", "info": {"title": "\U0001f600"}, "paths": paths}))
    async with box_of(site, path) as box:
        await box.prepare()
        assert "GET /{y} is left out" in box.problems[0]
        assert box.find_tool("shop.x") is not None


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
    (operation,) = read_operations(document).found
    assert len(json.dumps(operation.schema)) < 70_000
    with pytest.raises(BadDocument):
        read_operations({"openapi": 3})


def named(name: str, place: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": {}, **more}


WIDE: dict[str, Any] = {
    "openapi": "3.1.0",
    "security": [{"key": [], "place": []}, {"login": []}],
    "paths": {
        "/find/{ids}/{at}": {
            "get": {
                "operationId": "find",
                "parameters": [
                    named("ids", "path", style="label", explode=True),
                    named("at", "path", style="matrix"),
                    named("filter", "query", style="deepObject"),
                    named("tags", "query", style="pipeDelimited"),
                    named("page", "query", explode=False),
                    {"name": "where", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
                    named("session", "cookie"),
                    named("X-Parts", "header", explode=True),
                ],
            }
        },
        "/upload": {
            "post": {
                "operationId": "upload",
                "security": [],
                "requestBody": {
                    "content": {
                        "multipart/form-data": {
                            "schema": {
                                "type": "object",
                                "properties": {
                                    "title": {"type": "string"},
                                    "file": {"type": "string", "format": "binary"},
                                    "about": {"type": "object"},
                                },
                            }
                        }
                    }
                },
            }
        },
        "/order": {
            "post": {
                "operationId": "order",
                "security": [{"login": []}],
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {"type": "object"},
                            "encoding": {"items": {"style": "deepObject"}},
                        }
                    }
                },
            }
        },
        "/raw": {
            "put": {"operationId": "raw", "security": [{"token": []}], "requestBody": {"content": {"image/png": {}}}}
        },
        "/odd": {
            "get": {"operationId": "odd", "parameters": [named("x", "query", style="tableau")]},
            "post": {"operationId": "certified", "security": [{"certificate": []}]},
            "put": {"operationId": "strange", "parameters": 5},
        },
        "/gap/{id}": {
            "get": {"operationId": "gap", "parameters": [named("since", "query", schema={"default": "2020-01-01"})]}
        },
    },
    "components": {
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "query", "name": "api_key"},
            "place": {"type": "apiKey", "in": "cookie", "name": "tenant"},
            "login": {"type": "http", "scheme": "basic"},
            "token": {"type": "oauth2", "flows": {}},
            "certificate": {"type": "mutualTLS"},
        }
    },
}


@pytest.mark.asyncio
async def test_arguments_and_keys_are_written_as_services_want_them(site: Site, tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(WIDE, sort_keys=False))
    for path in ("/v1/find/.a%2Fb.c/;at=1,2", "/v1/upload", "/v1/order", "/v1/raw"):
        site.page(path, b"")
    auth = {"key": "k 1", "place": "north", "login": "ada:pw", "token": "t0"}
    api = OpenApi("wide", str(tmp_path / "wide.yaml"), site.url("/v1", "127.0.0.1"), auth=auth)
    async with open_toolbox(network=local(), apis=[api]) as box:
        await box.prepare()
        where = {"filter": {"a": {"b": [1, 2]}}, "tags": ["x", "y z"], "page": {"n": 3}, "where": {"q": "ü"}}
        await call(box, "wide.find", ids=["a/b", "c"], at=[1, 2], session="s;1", X_Parts={"k": True}, **where)
        files = {"title": "T", "file": {"base64": "AAE=", "filename": 'a".png'}, "about": {"n": 1}}
        await call(box, "wide.upload", body=files)
        await call(box, "wide.order", body={"name": "a b", "items": [{"price": 5}], "kinds": ["x", "y"]})
        await call(box, "wide.raw", body={"base64": "AAE="})
        with pytest.raises(ToolFailure, match="base64 holds no base64"):
            await call(box, "wide.raw", body={"base64": "?"})
        found, upload, order, raw = site.received
        assert found.query == (
            "api_key=k%201&filter[a][b][0]=1&filter[a][b][1]=2&tags=x%7Cy%20z&page=n%2C3&where=%7B%22q%22%3A%20%22%C3%BC%22%7D"
        )
        assert (found.headers["cookie"], found.headers["x-parts"]) == ("tenant=north; session=s%3B1", "k=true")
        kind, boundary = upload.headers["content-type"].split("; boundary=")
        parts = upload.body.decode("latin-1").split(f"--{boundary}")
        assert (kind, "authorization" in upload.headers) == ("multipart/form-data", False)
        assert [part.strip().replace("\r\n", "|") for part in parts[1:]] == [
            'Content-Disposition: form-data; name="title"||T',
            'Content-Disposition: form-data; name="file"; filename="a%22.png"|Content-Type: application/octet-stream||\x00\x01',
            'Content-Disposition: form-data; name="about"|Content-Type: application/json||{"n": 1}',
            "--",
        ]
        assert order.body == b"name=a+b&items%5B0%5D%5Bprice%5D=5&kinds=x&kinds=y"
        assert order.headers["authorization"] == "Basic YWRhOnB3"
        assert (raw.body, raw.headers["content-type"], raw.headers["authorization"]) == (
            b"\0\1",
            "image/png",
            "Bearer t0",
        )


@pytest.mark.asyncio
async def test_operations_that_cannot_be_called_are_named_with_their_lines(site: Site, tmp_path: Path) -> None:
    (tmp_path / "wide.yaml").write_text(text := yaml.safe_dump(WIDE, sort_keys=False))
    line = text.split("\n").index("  /odd:") + 2
    site.page("/v1/order", b"", status="401 Unauthorized")
    api = OpenApi("wide", str(tmp_path / "wide.yaml"), site.url("/v1", "127.0.0.1"))
    unknown = replace(api, name="unknown", auth={"tokn": "x"})
    async with open_toolbox(network=local(), apis=[api, unknown]) as box:
        await box.prepare()
        names = [spec.name for spec in box.list_tools() if spec.name.startswith("wide.")]
        assert names == ["wide.find", "wide.order", "wide.raw", "wide.upload"]
        (wide, other) = box.problems
        assert (
            f"line {line}: GET /odd is left out: the style 'tableau' of parameters in the query is not supported"
            in wide
        )
        assert "POST /odd is left out: its security scheme 'certificate' (mutualTLS) is not supported" in wide
        assert "PUT /odd is left out: it is built in a way that cannot be read" in wide
        assert "GET /gap/{id} is left out: its path has {id}, which no parameter describes" in wide
        assert """openapi.unknown.auth: it has no security scheme 'tokn' (did you mean "token"?)""" in other
        with pytest.raises(ToolFailure) as caught:
            await call(box, "wide.order", body={})
        assert caught.value.hint == (
            "It wants to know who calls: the operator can set login in [openapi.wide.auth] of stepwell.toml."
        )


@pytest.mark.asyncio
async def test_keys_do_not_go_where_only_a_document_from_elsewhere_says(site: Site) -> None:
    text = json.dumps(DOCUMENT | {"servers": [{"url": "https://elsewhere.example/v1"}]})
    site.page("/openapi.json", text.encode())
    api = OpenApi("shop", site.url("/openapi.json", "127.0.0.1"), headers={"Authorization": "Bearer t"})
    async with open_toolbox(network=local(), apis=[api]) as box:
        await box.prepare()
        assert 'give base_url = "https://elsewhere.example/v1" if that is right' in box.problems[0]
