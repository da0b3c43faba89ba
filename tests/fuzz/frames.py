"""Frames of guests, honest and not, made by chance from a seed; and the shortest of a list that still fails."""

import json
import random
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

Frame = dict[str, Any]

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, 1e308, "", "x", "\0", "\u202e\x1b[2J",
    "\ud800", "é" * 300, "k" * 3000, "!doubt", "a!policy", "!cut1/a", "~1/x#2@3/y", [], {}, [[]], {"$": "bytes", "v": 1},
    {"$": "dict", "v": [[1, 2]]}, {"$": "set", "v": [{}]}, {"$": "int", "v": "9" * 5000}, {"": {"": {}}}, [None] * 50,
)  # fmt: skip
PIECES = (
    b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"1e999", b"NaN",
    b"9" * 25, b"-", b" ", b"null", b'"t":"done"', b"[" * 70, b'"value":1,', "\u202e".encode(),
)  # fmt: skip
TOOLS = ("fetch", "http.request", "curl.get", "none.such", "fetch.x", "")
ACTS = ("artifacts.save", "artifacts.delete", "workflows.create", "workflows.delete", "events.emit", "none")
QUERIES = ("artifacts.load", "artifacts.list", "artifacts.exists", "tools.list", "tools.search", "workflows.list", "no")
STATES = ("run.set", "run.get", "session.swap", "user.get", "run.keys", "run.clear", "other.get", "run.")


class Guest:
    """Says by chance what a guest may say, in an order that an honest one could have, mostly."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.calls = 0
        self.delivered = 0
        self.keys: list[str] = []
        self.untaken: list[str] = []

    def frame(self) -> Frame:
        """Return the next frame."""
        makers: tuple[Callable[[], Frame], ...] = (
            self.step, self.step, self.mark, self.mark, self.call, self.call, self.drop, self.idle, self.readings,
            self.fired, self.log, self.note,
        )  # fmt: skip
        return self.rng.choice(makers)()

    def last(self) -> Frame:
        """Return a frame that ends the run."""
        rng = self.rng
        return rng.choice(
            (
                {"t": "done", "value": self.value()},
                {"t": "failed", "error": self.failure()},
                {"t": "terminated", "reason": self.text()},
                {"t": "diverged", "key": self.key(), "recorded": self.text(), "found": self.text(), "line": 3},
                {"t": "rested", "key": "", "found": ""},
                {"t": "undone", "failed": 0},
                {"t": "reached", "delivered": 0, "asked": []},
            )
        )

    def text(self) -> str:
        return self.rng.choice(("", "a", "\x1b]0;x\x07", "é\u2028", "word " * 20, "\u202egnp.exe"))

    def value(self, depth: int = 0) -> Any:
        rng = self.rng
        kind = rng.randrange(8 if depth < 3 else 5)
        if kind < 5:
            return rng.choice((None, rng.randrange(-(2**40), 2**40), rng.random(), self.text(), True))
        if kind == 5:
            return [self.value(depth + 1) for _ in range(rng.randrange(4))]
        if kind == 6:
            return {self.text(): self.value(depth + 1) for _ in range(rng.randrange(4))}
        return {"$": rng.choice(("tuple", "set", "bytes", "dict", "datetime", "data", "int", "")), "v": self.value(3)}

    def key(self) -> str:
        if self.keys and self.rng.random() < 0.1:
            return self.rng.choice(self.keys)
        place = self.rng.choice(("", "~1/", "a@2/", "~2/b@1/"))
        self.keys.append(f"{place}k{len(self.keys)}")
        return self.keys[-1]

    def failure(self) -> Frame:
        error: Frame = {"type": "ValueError", "message": self.text(), "traceback": self.text(), "payload": self.value()}
        return error | self.rng.choice(
            ({}, {"step": "s", "attempt": 2}, {"code": "rejected"}, {"cause": [self.text()]})
        )

    def step(self) -> Frame:
        key, failed = self.key(), self.rng.random() < 0.2
        frame: Frame = {
            "t": "step",
            "key": key,
            "name": "s",
            "attempt": 1,
            "final": True,
            "started": 1.0,
            "finished": 2.0,
        }
        if failed:
            return frame | {"status": "error", "error": self.failure(), "final": self.rng.random() < 0.5}
        self.untaken.append(key)
        return frame | {"status": "ok", "value": self.value(), "undo": self.rng.random() < 0.1}

    def mark(self) -> Frame:
        if not self.untaken:
            return self.step()
        self.delivered += 1
        return {"t": "mark", "n": self.delivered, "key": self.untaken.pop(self.rng.randrange(len(self.untaken)))}

    def fired(self) -> Frame:
        self.delivered += 1
        return {"t": "fired", "key": self.key(), "at": 5.0, "mark": self.delivered}

    def call(self) -> Frame:
        rng = self.rng
        self.calls += 1
        kind, names = rng.choice(
            (("tool", TOOLS), ("act", ACTS), ("query", QUERIES), ("state", STATES), ("timer", ("t",)), ("event", ("e",)),
             ("input", ("i",)), ("approval", ("a",)), ("child", ("leaf", "none")), ("start", ("leaf", "none")))
        )  # fmt: skip
        names_given = ("key", "value", "name", "data", "source", "url", "method", "json", "seconds", "until", "timeout",
                       "prompt", "options", "query", "limit", "payload", "run_id", "token", "x")  # fmt: skip
        kwargs = {rng.choice(names_given): self.value() for _ in range(rng.randrange(4))}
        if rng.random() < 0.5:
            kwargs |= {"name": "n", "key": "k", "url": "https://example.com/", "seconds": 3600}
        args = {"args": [self.value() for _ in range(rng.randrange(3))] if rng.random() < 0.3 else [], "kwargs": kwargs}
        frame = {
            "t": "call",
            "id": self.calls,
            "key": self.key(),
            "kind": kind,
            "name": rng.choice(names),
            "args": args,
        }
        return frame if kind != "timer" else frame | {"delay_s": rng.choice((0.0, 0.001, 5.0, -1.0, 1e300))}

    def drop(self) -> Frame:
        return {"t": "drop", "id": self.rng.randrange(self.calls + 2), "key": self.key()}

    def idle(self) -> Frame:
        return {"t": "idle", "calls": self.rng.randrange(-1, self.calls + 1)}

    def readings(self) -> Frame:
        path = f"r{len(self.keys)}@1/"
        self.keys.append(path)
        if self.rng.random() < 0.5:
            return {"t": "readings", "key": path + "!seed", "seed": "0f" * 32, "times": []}
        return {"t": "readings", "key": path + "!readings1", "seed": "", "times": [1_700_000_000_000_000]}

    def log(self) -> Frame:
        return {"t": "log", "level": "info", "text": self.text(), "at": 1.0}

    def note(self) -> Frame:
        return {"t": "note", "type": "progress", "message": self.text(), "done": self.rng.random()}


def packed(frame: Frame) -> bytes:
    """Return a frame as bytes, with its length."""
    return framed(json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def framed(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def spoilt(frame: Frame, rng: random.Random) -> bytes:
    """Return bytes of a frame that no honest guest sends, or might."""
    match rng.randrange(5):
        case 0:
            inner = frame
            while (below := [v for v in inner.values() if isinstance(v, dict) and v]) and rng.random() < 0.5:
                inner = rng.choice(below)
            inner[rng.choice([*inner, "new"])] = rng.choice(JUNK)
            return packed(frame)
        case 1:
            frame.pop(rng.choice(list(frame)))
            return packed(frame)
        case 2 | 3:
            return framed(mutated(packed(frame)[4:], rng) or b" ")
        case _:
            raw = packed(frame)
            return rng.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff" + raw, raw[:-1], rng.randbytes(40), raw[4:], b"\0\0\0\1{")
            )


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to three small changes."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[at:at] = rng.choice(PIECES)
            case 1:
                del data[at : at + rng.randint(1, 9)]
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case _:
                data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randint(1, 30)]
    return bytes(data)


def script(rng: random.Random, frames: int, spoil: float) -> list[bytes]:
    """Return what one guest sends: so many frames at most, each spoilt with that probability, and an end."""
    guest = Guest(rng)
    sent = [
        spoilt(frame, rng) if rng.random() < spoil else packed(frame)
        for frame in (guest.frame() for _ in range(rng.randrange(frames)))
    ]
    return [*sent, packed(guest.last())] if rng.random() < 0.8 else sent


async def shortest(
    sent: Sequence[bytes], fails: Callable[[list[bytes]], Awaitable[bool]], tries: int = 80
) -> list[bytes]:
    """Return a part of `sent` that still fails, as short as can be found in so many tries."""
    kept = list(sent)
    size = max(1, len(kept) // 2)
    while size and tries > 0:
        at = 0
        while at < len(kept) and tries > 0:
            fewer = kept[:at] + kept[at + size :]
            tries -= 1
            if fewer and await fails(fewer):
                kept = fewer
            else:
                at += size
        size //= 2
    return kept
