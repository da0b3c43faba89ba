"""The text of an HTML page that a person would read: one pass over the source, whatever it holds."""

import html
import re

# What is inside is no text of the page.
_DROPPED = frozenset(
    {"script", "style", "noscript", "template", "svg", "nav", "aside", "footer", "form", "iframe", "head", "select"}
)
_RAW = frozenset({"script", "style", "template", "iframe", "noscript"})  # nothing in them is markup
_BREAKS = frozenset({"br", "tr", "dt", "dd"})
_SECTIONS = frozenset({"p", "div", "section", "article", "main", "header", "blockquote", "pre", "hr"})
_BLOCKS = _BREAKS | _SECTIONS | {"ul", "ol", "dl", "table", "figure", "figcaption"}
_VOID = frozenset({"br", "hr", "img", "input", "meta", "link", "source", "wbr", "area", "base", "col", "embed"})
_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_HREF = re.compile(r"""\shref\s*=\s*(?:"([^"]{1,2000})"|'([^']{1,2000})'|([^\s"'>]{1,2000}))""", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}  # of other letters one may become two
_SPACE = re.compile(r"[ \t\r\f\v\u00a0]+")


class _Page:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.dropped: list[str] = []
        self.links: list[str] = []
        self.verbatim = 0

    def text(self, raw: str) -> None:
        if not self.dropped:
            text = html.unescape(raw)
            self.parts.append(text if self.verbatim else _SPACE.sub(" ", text.replace("\n", " ")))

    def open(self, name: str, tag: str) -> None:
        if self.dropped or name in _DROPPED:
            if name not in _VOID and not tag.endswith("/"):
                self.dropped.append(name)
            return
        if name[0] == "h" and name[1:].isdigit():
            self.parts.append("\n\n" + "#" * min(int(name[1:]), 6) + " ")
        elif name == "li":
            self.parts.append("\n- ")
        elif name in ("td", "th"):
            self.parts.append(" | ")
        elif name == "a":
            found = _HREF.search(tag[:4000])
            self.links.append(html.unescape(next(filter(None, found.groups()), "")) if found else "")
        elif name in _BLOCKS:
            self.verbatim += name == "pre"
            self.parts.append("\n" if name in _BREAKS else "\n\n")

    def close(self, name: str) -> None:
        if self.dropped:
            if name in self.dropped[-50:]:
                while self.dropped.pop() != name:
                    pass
            return
        if name == "a" and self.links:
            target = self.links.pop()
            if target.startswith(("http://", "https://", "/")):
                self.parts.append(f" ({target})")
        elif name in _BLOCKS or (name[0] == "h" and name[1:].isdigit()):
            self.verbatim = max(0, self.verbatim - (name == "pre"))
            self.parts.append("\n\n")


def readable_text(source: str) -> str:
    """Return title, headings, paragraphs, lists and links of a page, without markup, scripts and navigation."""
    page = _Page()
    lowered = source.translate(_LOWER)
    at = 0
    while (start := source.find("<", at)) >= 0:
        page.text(source[at:start])
        if source.startswith("<!--", start):
            end = source.find("-->", start + 4)
            at = end + 3
        else:
            end = source.find(">", start)
            at = end + 1
        if end < 0:  # never closed: the rest is no text
            at = len(source)
            break
        named = _NAME.match(source, start + 1)
        if named is None:
            continue
        name, tag = named[1].lower(), source[start + 1 : end]
        if tag.startswith("/"):
            page.close(name)
        elif name in _RAW and not tag.endswith("/"):
            closing = lowered.find(f"</{name}", at)
            at = len(source) if closing < 0 else closing
            page.open(name, tag)
        else:
            page.open(name, tag)
    page.text(source[at:])
    title = _TITLE.search(source[:100_000])
    head = f"# {_SPACE.sub(' ', html.unescape(title[1])).strip()}\n\n" if title else ""
    return head + _tidied("".join(page.parts))


def _tidied(text: str) -> str:
    lines = [line.strip() if not line.startswith("    ") else line.rstrip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
