"""Secrets: where they may go, where they come from, and that they do not come back."""

import asyncio
import base64
import json
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.errors import ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import CallContext, Caller
from stepwell.tools import (
    FromCommand,
    FromEnvironment,
    FromFile,
    FromKeyring,
    NetworkPolicy,
    SecretRule,
    Secrets,
    Toolbox,
    open_toolbox,
)
from stepwell.tools.messages import clean
from stepwell.tools.redaction import Redactor
from support.echo import Echo, list_forms

VALUE = 'tok_9f&X/y+z=Q"w%7A'
CALLER = Caller("flow", "0" * 64, None, ("TOKEN",))
CONTEXT = CallContext("r-1", "flow", "0" * 32)


@pytest.fixture
def echo() -> Generator[Echo, None, None]:
    with Echo().serving() as server:
        yield server


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_TESTS", VALUE)


def secrets(**rule: Any) -> Secrets:
    return Secrets({"TOKEN": SecretRule(FromEnvironment("TOKEN_OF_TESTS"), **rule)})


async def use(box: Toolbox, name: str, caller: Caller = CALLER, **arguments: Any) -> Any:
    spec = box.admit(name, caller)
    bound = box.bind(spec, [], arguments)
    box.gate(spec, bound, caller)
    return await box.call(spec, bound, CONTEXT)


def local() -> NetworkPolicy:
    return NetworkPolicy(("127.0.0.1", "localhost"), allow_private=True)


@pytest.mark.asyncio
async def test_a_value_goes_out_and_does_not_come_back_in_any_form(echo: Echo) -> None:
    async with open_toolbox(network=local(), secrets=secrets(hosts=("127.0.0.1",))) as box:
        answer = await use(
            box, "http.request", method="POST", url=f"{echo.url}/x?key={{{{secret:TOKEN}}}}",
            headers={"Authorization": "Bearer {{ secret:TOKEN }}"}, json={"list": ["a {{secret:TOKEN}} b"]},
        )  # fmt: skip
        with pytest.raises(ToolFailure) as failed:
            await use(box, "fetch", url=f"{echo.url}/error?key={{{{secret:TOKEN}}}}")
        with pytest.raises(ToolFailure) as said:
            await use(box, "curl.get", url=f"{echo.url}/error", headers={"Authorization": "{{secret:TOKEN}}"})
    first, *others = echo.sent
    assert first["header"] == f"Bearer {VALUE}"
    assert first["key"] == VALUE
    assert json.loads(first["body"]) == {"list": [f"a {VALUE} b"]}
    assert (others[0]["key"], others[1]["header"]) == (VALUE, VALUE)
    shown = json.dumps(answer) + failed.value.message + said.value.message
    assert "[secret TOKEN]" in answer["text"]
    assert "[secret TOKEN]" in failed.value.message
    assert "[secret TOKEN]" in said.value.message
    for form in list_forms(VALUE)[:5]:
        assert form not in shown


@pytest.mark.parametrize(
    ("rule", "call", "code", "said"),
    [
        ({"hosts": ("127.0.0.1",)}, {"url": "http://localhost/{{secret:TOKEN}}"}, "not_allowed", "not to localhost"),
        ({"tools": ("curl.*",)}, {"url": "http://127.0.0.1/{{secret:TOKEN}}"}, "not_allowed", "may go to curl.*"),
        ({"tools": ("fetch",)}, {"url": "http://127.0.0.1/{{secret:OTHER}}"}, "unknown_secret", "no secret OTHER"),
        ({"tools": ("fetch",)}, {"url": "http://{{secret:TOKEN}}/"}, "invalid_arguments", "URL"),
        ({"tools": ("fetch",)}, {"url": "{{secret:TOKEN}}://127.0.0.1/"}, "invalid_arguments", "URL"),
        (
            {"tools": ("fetch",), "arguments": ("headers.*",)},
            {"url": "http://127.0.0.1/{{secret:TOKEN}}"}, "not_allowed", "not in url",
        ),
    ],
)  # fmt: skip
@pytest.mark.asyncio
async def test_a_secret_goes_only_where_it_is_bound_to(rule: Any, call: Any, code: str, said: str) -> None:
    async with open_toolbox(network=local(), secrets=secrets(**rule)) as box:
        with pytest.raises(ToolFailure) as refused:
            await use(box, "fetch", Caller("flow", "0" * 64, None, ("TOKEN", "OTHER")), **call)
    assert refused.value.code == code
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"tools": ("pay.charge",)}, None),
        ({"tools": ("*",), "hosts": ("*.shop.test",)}, None),
        ({"tools": ("pays.*", "p")}, "may go to pays.*, p only"),
        ({"hosts": ("shop.test",)}, "not to a.shop.test"),
    ],
)
@pytest.mark.asyncio
async def test_what_is_configured_for_a_source_goes_only_there_too(rule: Any, said: str | None) -> None:
    reveal = secrets(**rule).reveal("Bearer {{secret:TOKEN}}", "pay", ("a.shop.test",))
    if said is None:
        assert await reveal == f"Bearer {VALUE}"
        return
    with pytest.raises(ToolFailure, match=said) as refused:
        await reveal
    assert refused.value.code == "not_allowed"
    assert VALUE not in str(refused.value)


@pytest.mark.asyncio
async def test_text_from_elsewhere_cannot_name_a_secret(echo: Echo) -> None:
    async with open_toolbox(network=local(), secrets=secrets(tools=("fetch",))) as box:
        with pytest.raises(ToolFailure) as refused:
            await use(box, "fetch", Caller("flow", "0" * 64, None, ()), url=f"{echo.url}/{{{{secret:TOKEN}}}}")
    assert (refused.value.code, echo.sent) == ("not_declared", [])


@pytest.mark.asyncio
async def test_one_that_another_call_has_sent_is_hidden_too(echo: Echo) -> None:
    async with open_toolbox(network=local(), secrets=secrets(hosts=("127.0.0.1",))) as box:
        stored = await use(box, "fetch", url=f"{echo.url}/keys?kept={quote(VALUE, safe='')}")
    assert VALUE not in stored
    assert "[secret TOKEN]" in stored


@pytest.mark.asyncio
async def test_every_source_is_read_and_what_is_wrong_is_said_without_the_value(tmp_path: Path) -> None:
    import keyring
    from keyring.backend import KeyringBackend

    class Memory(KeyringBackend):
        priority = 1  # pyright: ignore[reportAssignmentType]

        def get_password(self, service: str, username: str) -> str | None:
            return VALUE if (service, username) == ("shop", "ada") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Memory())
    file = tmp_path / "token"
    file.write_text(VALUE + "\n")
    (tmp_path / "short").write_text("abc")
    (tmp_path / "binary").write_bytes(b"\xff" * 20)
    good = [
        FromFile(file), FromCommand(("cat", str(file))), FromKeyring("shop", "ada"), FromEnvironment("TOKEN_OF_TESTS")
    ]  # fmt: skip
    bad = {
        FromFile(tmp_path / "none"): "cannot be read: No such file",
        FromFile(tmp_path / "short"): "fewer than 6 characters",
        FromFile(tmp_path / "binary"): "no UTF-8 text",
        FromCommand(("false",)): "exit code 1",
        FromCommand((str(tmp_path / "none"),)): "cannot be started",
        FromCommand(("yes", VALUE)): "longer than",
        FromKeyring("shop", "bob"): "no entry 'shop' for 'bob'",
        FromEnvironment("NOT_THERE"): "NOT_THERE is not set",
    }
    try:
        for source in good:
            assert await Secrets({"A": SecretRule(source)}).reveal("x {{secret:A}} y", "shop", ()) == f"x {VALUE} y"
        for source, said in bad.items():
            with pytest.raises(ToolFailure) as failed:
                await Secrets({"A": SecretRule(source)}).fill("shop", (), {"a": "{{secret:A}}"})
            assert (failed.value.code, said in failed.value.message) == ("secret_unavailable", True), failed.value
            assert VALUE not in failed.value.message
    finally:
        keyring.set_keyring(before)


def from_program(folder: Path, ends: str) -> Secrets:
    """A secret that a program gives, which writes a line to `times` each time that it is asked."""
    program = folder / "give"
    program.write_text(f"#!/bin/sh\necho x >> {folder}/times\n{ends}\n")
    program.chmod(0o700)
    return Secrets({"A": SecretRule(FromCommand((str(program),)))})


@pytest.mark.asyncio
async def test_a_program_is_asked_once_for_many_calls(tmp_path: Path) -> None:
    store = from_program(tmp_path, "echo 'a value that is secret'")
    filled = await asyncio.gather(*(store.fill("shop", (), {"a": "{{secret:A}}"}) for _ in range(8)))
    assert all(arguments == {"a": "a value that is secret"} for arguments in filled)
    assert (tmp_path / "times").read_text() == "x\n"


@pytest.mark.asyncio
async def test_a_program_that_fails_does_not_hold_up_every_call(tmp_path: Path) -> None:
    store = from_program(tmp_path, "exit 1")
    for _ in range(8):
        assert await store.fill("shop", (), {"a": "nothing secret"}) == {"a": "nothing secret"}
    assert (tmp_path / "times").read_text() == "x\n"


def test_what_is_cut_shows_no_part_of_a_secret() -> None:
    redactor = Redactor()
    redactor.learn("TOKEN", VALUE)
    for size in range(len(VALUE)):
        assert VALUE[:6] not in clean("x" * 1990 + VALUE + "y" * 5000, 1990 + size + 1)
        assert VALUE[-6:] not in clean(VALUE[size:] + " and more")


def test_keys_numbers_lines_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    redactor = Redactor()
    redactor.learn("PIN", "12345678")
    redactor.learn("KEY", "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0B\n-----END-----")
    given: JsonObject = {"12345678": 12345678, "more": [1.5, True, None, "x12345678y"], "n": 912345678}
    assert redactor.value(given) == {
        "[secret PIN]": "[secret PIN]", "more": [1.5, True, None, "x[secret PIN]y"], "n": "9[secret PIN]",
    }  # fmt: skip
    assert redactor.text("line MIIEvQIBADANBgkqhkiG9w0B of it") == "line [secret KEY] of it"
    with caplog.at_level(logging.INFO):
        logging.getLogger("any").info("sent %s to %d", "12345678", 5)
        try:
            raise ValueError("12345678")
        except ValueError:
            logging.getLogger("any").exception("failed")
    assert "12345678" not in caplog.text
    assert caplog.text.count("[secret PIN]") == 3


def test_forms_that_other_languages_write_are_found_in_texts_and_structures() -> None:
    value, redactor = "k<1>&/x+y'\"\\z", Redactor()
    redactor.learn("S", value)
    redactor.learn("B", "ÿÿ?>>?>>~~/")
    php = json.dumps(value).replace("/", "\\/")
    go = json.dumps(value).replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    net = r"k\u003C1\u003E\u0026/x\u002By\u0027\u0022\\z"
    jinja = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;")
    jinja = jinja.replace('"', "&#34;")
    encoded = base64.b64encode("ÿÿ?>>?>>~~/".encode()).decode()
    for form in (php, go, net, jinja, repr(value), encoded.replace("/", "\\/"), quote(encoded, safe="")):
        assert "[secret" in redactor.text(f"<{form}>"), form
        assert "[secret" in json.dumps(redactor.value({"a": [f"<{form}>"]})), form


@settings(max_examples=200, deadline=None)
@given(
    value=st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=6, max_size=40),
    before=st.binary(max_size=5),
)
def test_whatever_the_secret_is_no_usual_form_of_it_passes(value: str, before: bytes) -> None:
    redactor = Redactor()
    redactor.learn("S", value)
    encoded = base64.b64encode(before + value.encode() + b"tail").decode()
    forms = [*list_forms(value)[:4], json.dumps(value), json.dumps(value, ensure_ascii=False), encoded]
    for form in forms:
        assert "[secret S]" in redactor.text(f"<{form}>")
        assert "[secret S]" in json.dumps(redactor.value([{"k": f"<{form}>"}]))
