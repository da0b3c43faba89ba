"""Workflows that write to the channel to their host what they like."""

RAW = """
import json, os, select, struct

def write(data):
    view = memoryview(data)
    while view:
        view = view[os.write(3, view):]

def frame(raw):
    write(struct.pack(">I", len(raw)) + raw)

def send(**message):
    frame(json.dumps(message).encode())

def call(kind, name, kwargs, n=1):
    head = b'{"t":"call","id":%d,"key":"key%d","kind":"%s","name":"%s","args":{"args":[],"kwargs":' % (
        n, n, kind.encode(), name.encode())
    frame(head + kwargs + b"}}")

def linger():
    select.select([], [], [], 0.3)

NAMES = b"{" + b",".join(b'"%035d":0' % n for n in range(99_000)) + b"}"
NUMBERS = b"[" + b",".join([b"0.12345678901234567"] * 99_000) + b"]"
MALFORMED = b"[" + b",".join([b'{"$":"bytes","v":1}'] * 33_000) + b"]"

def run():
    {body}
"""

LONG = {
    "a large text": 'return "é" * 2_000_000',
    "arguments of many names": 'call("tool", "fetch", b\'{"url":"x","headers":\' + NAMES + b"}"); linger()',
    "arguments of many numbers": 'call("tool", "fetch", b\'{"url":\' + NUMBERS + b"}"); linger()',
    "input of a child": 'call("child", "victim", b\'{"x":\' + NAMES + b"}"); linger()',
    "context of an approval": 'call("approval", "a", b\'{"context":\' + NAMES + b"}"); linger()',
    "malformed state": 'call("state", "session.set", b\'{"key":"k","value":\' + MALFORMED + b"}"); linger()',
    "malformed artifact": 'call("act", "artifacts.save", b\'{"name":"k","data":\' + MALFORMED + b"}"); linger()',
    "malformed event": 'call("act", "events.emit", b\'{"name":"k","payload":\' + MALFORMED + b"}"); linger()',
    "a malformed result": 'frame(b\'{"t":"done","value":\' + MALFORMED + b"}")',
    "a deep result": 'frame(b\'{"t":"done","value":\' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}")',
    "a long integer": 'frame(b\'{"t":"done","value":\' + b"9" * 4_000_000 + b"}")',
    "long lines": 'for _ in range(3): send(t="log", level="info", text="\\x1b" * 600_000, at=1.0)',
}
"""One frame or a few that take long to read, by what they are."""

MANY = {
    "calls": 'for n in range(1, 1001): call("event", "e", b"{}", n)\n    linger()',
    "refused calls": 'for n in range(1, 1001): call("tool", f"none{n}", b"{}", n)\n    linger()',
    "timers of one moment": 'import time\n    for n in range(1, 1001): call("timer", "t", '
    "b'{\"until\":%f}' % (time.time() // 2 * 2 + 3), n)\n    select.select([], [], [], 3.5)",
    "dropped calls": 'for n in range(1, 1001): call("event", "e", b"{}", n)\n    '
    'for n in range(1, 1001): send(t="drop", id=n, key=f"key{n}")\n    linger()',
    "idle": 'for _ in range(20_000): send(t="idle", calls=-1)',
    "steps": 'for n in range(10_000): send(t="step", key=f"s{n}", name="s", attempt=1, status="ok", final=True, '
    "started=1.0, finished=2.0, value=1)",
    "empty lines past the channel": 'for _ in range(400): os.write(1, b"\\n" * 8192)',
    "lines": 'for _ in range(20_000): send(t="log", level="info", text="\\x1b", at=1.0)',
}
"""As many small frames as fit, by what they are."""


def source(body: str) -> str:
    return RAW.replace("{body}", body)
