"""Values that nobody may see, found in their usual forms and replaced."""

import base64
import html
import json
import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus
from weakref import WeakSet

from stepwell.model import Json

MIN_LENGTH = 6  # of a secret: what is shorter is found in texts that have nothing to do with it
MIN_LINE = 16  # of a line of a secret that has several
MIN_PART = 6  # of a secret that was cut off at the beginning or end of a text


class Redactor:
    """Knows secrets, and replaces them by `[secret NAME]`."""

    def __init__(self) -> None:
        self._values: set[tuple[str, str]] = set()
        self._forms: list[tuple[str, str]] = []
        self._in_json: list[str] = []
        """The forms as they stand inside of a text of JSON."""
        _live.add(self)
        _guard_logs()

    def __bool__(self) -> bool:
        return bool(self._forms)

    def learn(self, name: str, value: str) -> None:
        """Replace this value from now on, also where it is known already under another name."""
        if (name, value) in self._values:
            return
        self._values.add((name, value))
        known = dict(self._forms)
        for form in list_forms(value):
            known.setdefault(form, f"[secret {name}]")
        # The longest first: a form may be part of another.
        self._forms = sorted(known.items(), key=lambda item: -len(item[0]))
        self._in_json = list({json.dumps(form, ensure_ascii=False)[1:-1] for form in known})

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for form, shown in self._forms:
            if form in text:
                text = text.replace(form, shown)
        return text

    def data(self, data: bytes) -> bytes:
        """Return the bytes without secrets."""
        for form, shown in self._forms:
            if (encoded := form.encode()) in data:
                data = data.replace(encoded, shown.encode())
        return data

    def value(self, value: Json) -> Json:
        """Return JSON without secrets, in keys and numbers too."""
        if isinstance(value, str):
            return self.text(value)
        text = json.dumps(value, ensure_ascii=False)
        return self._inside(value) if any(form in text for form in self._in_json) else value

    def ends(self, text: str) -> str:
        """Return a text that was cut, without the part of a secret with which it begins or ends."""
        for form, shown in self._forms:
            if form[:MIN_PART] in text[-len(form) :]:  # seldom: else this would be most of what an error takes
                for size in range(min(len(form) - 1, len(text)), MIN_PART - 1, -1):
                    if text.endswith(form[:size]):
                        text = text[:-size] + shown
                        break
            if form[-MIN_PART:] in text[: len(form)]:
                for size in range(min(len(form) - 1, len(text)), MIN_PART - 1, -1):
                    if text.startswith(form[-size:]):
                        text = shown + text[size:]
                        break
        return text

    def _inside(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._inside(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self._inside(item) for key, item in value.items()}
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = self.text(str(value))
            return value if shown == str(value) else shown
        return value


_live: WeakSet[Redactor] = WeakSet()


def hide(text: str) -> str:
    """Return a text, which may be a part of one, without the secrets that are known in this process."""
    for redactor in tuple(_live):
        if redactor:
            text = redactor.ends(redactor.text(text))
    return text


def list_forms(value: str) -> list[str]:
    """Return how a value appears: as it is, escaped for URLs, JSON, HTML and Python, in base64 and hexadecimal."""
    forms = [value]
    for safe in ("", "/", "!'()*~", "/:@!$&'()*+,;=~"):
        escaped = quote(value, safe=safe)
        forms += [escaped, escaped.replace("%", "%25"), _lower_escapes(escaped)]
    forms += [quote_plus(value), _lower_escapes(quote_plus(value)), repr(value)[1:-1]]
    forms += [json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    forms += [form.replace("/", "\\/") for form in forms[-2:]]  # PHP
    forms += [_json(value, "<>&", "04x"), _json(value, "<>&'\"+`", "04X")]  # Go and Ruby, .NET
    forms += [json.dumps(json.dumps(value)[1:-1])[1:-1], html.escape(value, quote=False)]
    forms += [escaped := html.escape(value), escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")]
    data = value.encode()
    forms += [data.hex(), data.hex().upper()]
    for encoded in _list_base64(data):
        forms += [
            encoded,
            encoded.replace("/", "\\/"),
            quote(encoded, safe=""),
            _lower_escapes(quote(encoded, safe="")),
        ]
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        forms += [line for line in lines if len(line) >= MIN_LINE]
    return [form for form in dict.fromkeys(forms) if len(form) >= MIN_LENGTH]


def _json(value: str, escaped: str, digits: str) -> str:
    """Return the value as JSON in which these characters are written as numbers."""
    return "".join(f"\\u{ord(c):{digits}}" if c in escaped else json.dumps(c)[1:-1] for c in value)


def _lower_escapes(escaped: str) -> str:
    first, *rest = escaped.split("%")
    return "%".join([first, *(part[:2].lower() + part[2:] for part in rest)])


def _list_base64(data: bytes) -> Iterable[str]:
    """Return the characters that stand for the bytes wherever they stand in what is encoded."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode()
        inner = encoded[(0, 2, 3)[before] : 8 * (before + len(data)) // 6]
        yield from (inner, inner.replace("+", "-").replace("/", "_"))


def _guard_logs() -> None:
    """From the first secret on, no record of any logger holds one."""
    make = logging.getLogRecordFactory()
    if getattr(make, "guards_secrets", False):
        return

    def guarded(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if any(_live):
            _guard(record)
        return record

    guarded.guards_secrets = True  # pyright: ignore[reportFunctionMemberAccess]
    logging.setLogRecordFactory(guarded)


def _guard(record: logging.LogRecord) -> None:
    try:
        said = record.getMessage()
    except Exception:  # noqa: BLE001  a wrong record is for its handlers to complain about
        return
    if hide(said) != said:
        record.msg, record.args = hide(said), None
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = hide(logging.Formatter().formatException(record.exc_info))
