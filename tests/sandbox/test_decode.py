"""Hostile bytes never become a frame, an exception of another kind, or text that harms."""

import json
import random

import msgspec
import pytest

from stepwell.errors import ProtocolViolation
from stepwell.model.text import clean_text, cut_text
from stepwell.ports.frames import Call, Done, Failed, Log, Note, Step
from stepwell_sandbox.decode import MAX_DEPTH, MAX_NODES, decode_first, decode_frame

CALL = b'{"t":"call","id":1,"key":"k","kind":"tool","name":"n","args":{"args":[],"kwargs":{"x":1}}}'


def done(value: bytes) -> bytes:
    return b'{"t":"done","value":' + value + b"}"


def test_an_honest_frame_is_decoded() -> None:
    frame = decode_frame(CALL)
    assert isinstance(frame, Call)
    assert (frame.id, frame.key, frame.kind, frame.name) == (1, "k", "tool", "n")
    assert msgspec.json.decode(frame.args) == {"args": [], "kwargs": {"x": 1}}


@pytest.mark.parametrize(
    "value",
    [
        b"null", b"-9223372036854775808", b"18446744073709551615", b"1e308", b"123456789012345678901.5",
        b'"123456789012345678901234567890"', b'"\\ud83d\\ude00"', b"[" * 63 + b"]" * 63,
        b'"' + b"[{,:" * 100_000 + b'"', b'["\\\\", "\\"[", "]"]',
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_what_json_allows_passes(value: bytes) -> None:
    frame = decode_frame(done(value))
    assert isinstance(frame, Done)
    assert msgspec.json.decode(frame.value) == json.loads(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b'{"t":"shutdown"}', b'{"t":1}', b'{"t":"mark","n":"1","key":"k"}',
        b'{"t":"mark","n":1}', b'{"t":"mark","n":1,"key":"k","more":1}', b'{"t":"mark","n":1.5,"key":"k"}',
        b'{"t":"mark","n":18446744073709551616,"key":"k"}', b'{"t":"start"}', b'{"t":"outcome","id":1,"at":0}',
        CALL + b"x", CALL + CALL, CALL[:-1], CALL.replace(b"tool", b"root"), CALL.replace(b'"id":1', b'"id":null'),
        done(b"NaN"), done(b"Infinity"), done(b"-Infinity"), done(b"1e999"), done(b"01"), done(b"1."), done(b"+1"),
        done(b"'a'"), done(b"[1,]"), done(b"{1:2}"), done(b'"\n"'), done(b'"\\x"'), done(b'"\\ud800"'),
        done(b'"\\udc00x"'), done(b'"\\ud800\\u0041"'), done(b'"\xed\xa0\x80"'), done(b'"\xff"'), done(b'"\xc0\x80"'),
        done(b"18446744073709551616"), done(b"-9223372036854775809"), done(b"9" * 3_000_000),
        done(b"[" + b"9" * 4000 + b"]"), done(b"[" * 64 + b"]" * 64), done(b'{"a":' * 70 + b"1" + b"}" * 70),
        done(b"[" * 2_000_000), done(b"[" * 1_500_000 + b"]" * 1_500_000), done(b"[" + b"[]," * 300_000 + b"1]"),
        done(b"[" + b'"",' * 600_000 + b"1]"),
    ],
    ids=lambda raw: raw[:50],
)  # fmt: skip
def test_what_no_honest_guest_sends_is_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_frame(raw)


def test_the_bounds_are_named_with_what_to_do() -> None:
    with pytest.raises(ProtocolViolation, match=f"more than {MAX_DEPTH} deep") as deep:
        decode_frame(done(b"[" * 65 + b"]" * 65))
    with pytest.raises(ProtocolViolation, match=f"more than {MAX_NODES} parts") as large:
        decode_frame(done(b"[" + b"1," * MAX_NODES + b"1]"))
    assert "Flatten" in deep.value.hint
    assert "artifacts.save" in large.value.hint


def test_duplicate_keys_have_one_meaning_for_all_who_read_on() -> None:
    frame = decode_frame(CALL.replace(b'{"x":1}', b'{"cmd":"safe","cmd":"evil"}'))
    assert isinstance(frame, Call)
    assert bytes(frame.args) == b'{"args":[],"kwargs":{"cmd":"evil"}}'


def test_text_for_people_is_harmless() -> None:
    evil = "\x1b[2J\x9b31m\r\x08\u202e\u2066\u2028\ufeff\u200f\x00\U000e0041 fine\n\tä😀"
    log = decode_frame(json.dumps({"t": "log", "level": "info", "text": evil, "at": 0.0}).encode())
    note = decode_frame(json.dumps({"t": "note", "type": "progress", "message": evil, "name": evil}).encode())
    error = {"type": evil, "message": evil, "traceback": evil, "cause": [evil]}
    failed = decode_frame(json.dumps({"t": "failed", "error": error}).encode())
    step = decode_frame(
        json.dumps(
            {"t": "step", "key": "k", "name": "n", "attempt": 1, "status": "error", "final": True, "started": 0.0,
             "finished": 1.0, "error": error}
        ).encode()
    )  # fmt: skip
    assert isinstance(log, Log)
    assert isinstance(note, Note)
    assert isinstance(failed, Failed)
    assert isinstance(step, Step)
    assert step.error is not None
    harmless = "\\x1b[2J\\x9b31m\\x0d\\x08\\u202e\\u2066\\u2028\\ufeff\\u200f\\x00\\U000e0041 fine\n\tä😀"
    for text in (
        log.text, note.message, note.name, failed.error.type, failed.error.message, failed.error.traceback,
        *failed.error.cause, step.error.message,
    ):  # fmt: skip
        assert text == harmless


def test_long_text_is_cut() -> None:
    frame = decode_frame(json.dumps({"t": "log", "level": "info", "text": "\x1b" * 1_000_000, "at": 0.0}).encode())
    assert isinstance(frame, Log)
    assert len(frame.text) < 200_000
    assert frame.text.endswith("[cut: 1000000 characters]")


def test_lone_surrogates_and_cuts_inside_a_character() -> None:
    assert clean_text("a\ud800b") == "a\\ud800b"
    assert cut_text("aäb", 2) == "a"
    assert cut_text("aäb", 3) == "aä"


@pytest.mark.parametrize("raw", [CALL, b'{"t":"ready"}', b'{"t":"ready","protocol":1,"x":2}', b"\xff", b"[" * 100_000])
def test_the_first_frame_is_ready_or_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_first(raw)


SEEDS = [
    CALL,
    b'{"t":"ready","protocol":1}',
    b'{"t":"step","key":"k","name":"n","attempt":1,"status":"ok","final":true,"started":1.5,"finished":2.5,"value":[1]}',
    b'{"t":"log","level":"stdout","text":"hello \\u00e9","at":1.0}',
    b'{"t":"failed","error":{"type":"E","message":"m","payload":{"a":[1,2.5,null,true]}}}',
    b'{"t":"done","value":{"a":[{},[],"",{"b":[[[[1]]]]}]}}',
    b'{"t":"diverged","key":"k","recorded":"a","found":"b","line":3}',
    b'{"t":"terminated","reason":"enough"}',
]
PIECES = [
    b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000",
    b"1e999", b"NaN", b"9" * 25, b"-", b"e", b".", b" ", b"\n", b"null", b'"t":"done"', b"[" * 70, b'"value":1,',
    "\u202e".encode(),
]  # fmt: skip


def test_fuzzed_frames_are_refused_or_mean_what_they_say() -> None:
    choose = random.Random(20261121)
    accepted = 0
    for _ in range(8000):
        raw = bytearray(choose.choice(SEEDS))
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(raw) + 1)
            match choose.randrange(4):
                case 0:
                    raw[at:at] = choose.choice(PIECES)
                case 1:
                    del raw[at : at + choose.randint(1, 9)]
                case 2:
                    raw[at : at + 1] = bytes([choose.randrange(256)])
                case _:
                    raw[at:at] = raw[choose.randrange(len(raw) + 1) :][: choose.randint(1, 30)]
        try:
            frame = decode_frame(bytes(raw))
        except ProtocolViolation:
            continue
        accepted += 1
        again = json.loads(msgspec.json.encode(frame), parse_constant=pytest.fail)
        json.dumps(again, allow_nan=False, ensure_ascii=False).encode()
    assert accepted > 50  # small changes of text and numbers leave honest frames
