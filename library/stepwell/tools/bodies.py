"""Bodies of HTTP answers: inflated, counted and decoded here, so that their size is bounded at every step."""

import re
import zlib

import httpx

RAW_SLACK = 64 * 1024  # bytes that an encoded body may be longer than what it decodes to
_INFLATED = {"gzip", "x-gzip", "deflate"}
_AUTODETECT = zlib.MAX_WBITS | 32  # gzip or zlib header
# Python knows codecs that are no charsets (`idna`, `unicode_escape`): only those that pages use are decoded.
_CHARSET = re.compile(
    r"utf-?8|utf-?(16|32)(-?[lb]e)?|(us-)?ascii|iso-?8859-?\d+|latin-?1|windows-\d+|cp\d+|koi8-[ru]"
    r"|shift[-_]?jis|euc[-_](jp|kr)|gb2312|gbk|gb18030|big5|iso-2022-jp|mac-?roman"
)
_BINARY_TYPES = ("image/", "audio/", "video/", "font/")
_BINARY_APPLICATIONS = {"octet-stream", "pdf", "zip", "gzip", "x-tar", "wasm", "x-7z-compressed", "vnd.rar"}


class BodyTooLarge(Exception):
    """The decoded body is longer than was asked for."""


class BodyBroken(Exception):
    """The body does not decode as its headers say."""


async def read_body(response: httpx.Response, max_bytes: int, *, cut: bool = False) -> bytes:
    """Return the decoded body of a streamed response; with `cut` only its first `max_bytes`.

    Raises:
        BodyTooLarge: it is longer and is not to be cut.
        BodyBroken: its content encoding is unknown or its data is damaged.
    """
    inflater = _inflater(response)
    body = bytearray()
    raw = 0
    async for chunk in response.aiter_raw():
        raw += len(chunk)
        body += inflater.feed(chunk, max_bytes + 1 - len(body)) if inflater else chunk
        if len(body) > max_bytes or raw > max_bytes + RAW_SLACK:
            if not cut:
                raise BodyTooLarge
            return bytes(body[:max_bytes])
    if inflater and raw and not inflater.complete and not cut:
        raise BodyBroken("its compressed body ends early")
    return bytes(body)


def decode_text(body: bytes, charset: str | None) -> str:
    """Decode by the declared charset, else UTF-8; what does not decode is replaced."""
    wanted = (charset or "").strip().lower()
    codec = wanted if _CHARSET.fullmatch(wanted) else "utf-8"
    if codec in {"utf-8", "utf8"}:
        codec = "utf-8-sig"
    try:
        return body.decode(codec, "replace")
    except LookupError:
        return body.decode("utf-8-sig", "replace")


def is_binary(body: bytes, content_type: str = "") -> bool:
    """Return whether a body is no text, by its type and, for types that do not say, by its bytes."""
    kind, _, parameters = content_type.strip().lower().partition(";")
    kind = kind.strip()
    if kind.startswith(_BINARY_TYPES) and kind != "image/svg+xml":
        return True
    if kind.removeprefix("application/") in _BINARY_APPLICATIONS:
        return True
    if "utf-16" in parameters or "utf-32" in parameters:
        return False
    if b"\x00" in body:
        return True
    # Text in an undeclared 8-bit charset decodes badly too: only a type that says nothing is judged by that.
    return not kind and body.decode("utf-8", "replace").count("\ufffd") * 5 > len(body) + 20


class _Inflater:
    """Inflates gzip (any number of members) and zlib data without ever making more than asked for."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_AUTODETECT)

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def feed(self, data: bytes, room: int) -> bytes:
        out = bytearray()
        while data and len(out) < room:
            if self._stream.eof:
                if not data.startswith(b"\x1f"):  # padding after the last member
                    break
                self._stream = zlib.decompressobj(_AUTODETECT)
            try:
                out += self._stream.decompress(data, room - len(out))
            except zlib.error as error:
                raise BodyBroken(f"its compressed body is damaged ({error})") from error
            data = self._stream.unused_data if self._stream.eof else b""
        return bytes(out)


def _inflater(response: httpx.Response) -> _Inflater | None:
    encodings = [part.strip().lower() for part in response.headers.get("content-encoding", "").split(",")]
    named = [encoding for encoding in encodings if encoding not in {"", "identity"}]
    if not named:
        return None
    if len(named) > 1 or named[0] not in _INFLATED:
        raise BodyBroken(f"its content encoding {','.join(named)!r} is not supported")
    return _Inflater()
