"""The text of a page that a person would read."""

import pytest

from stepwell.tools import open_toolbox
from stepwell.tools.readable import readable_text
from tools.loopback import Site, call, local

PAGE = """<!doctype html><html><head><title>Tea &amp; more</title><style>p{color:red}</style></head><body>
<nav><a href="/home">Home</a></nav><!-- <p>hidden</p> -->
<main><h1>How to <em>brew</em></h1><p>Boil   water.<br>Wait &lt;5&gt; min.</p>
<ul><li>green<li>black</ul><p>See <a href="https://tea.example.org/a?b=1&amp;c=2">the guide</a> and <a href="#x">below</a>.</p>
<script>if (a < b) { document.write("<p>evil</p>") }</script>
<pre>  1
    2</pre><table><tr><td>a</td><td>b</td></tr></table></main>
<footer>Imprint</footer></body></html>"""


def test_a_page_becomes_text() -> None:
    assert readable_text(PAGE) == (
        "# Tea & more\n\n# How to brew\n\nBoil water.\nWait <5> min.\n\n- green\n- black\n\n"
        "See the guide (https://tea.example.org/a?b=1&c=2) and below.\n\n1\n    2\n\n| a | b"
    )


def test_letters_that_become_two_in_lower_case_move_nothing() -> None:
    assert readable_text("İ" * 30 + "<SCRIPT>a</Script>what comes after it") == "İ" * 30 + "what comes after it"


@pytest.mark.parametrize(
    "source",
    [
        "<!--" * 300_000,
        "<script>" * 200_000,
        "<a href=" * 100_000,
        "<" * 1_000_000,
        "<p>" * 300_000,
        "</div>" * 200_000,
    ],
)
def test_a_page_that_never_ends_is_read_in_one_pass(source: str) -> None:
    assert len(readable_text(source)) < 10


@pytest.mark.asyncio
async def test_fetch_gives_the_readable_text(site: Site) -> None:
    site.page("/tea", PAGE.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
    site.page("/plain", b"<b>not html</b>")
    async with open_toolbox(network=local()) as box:
        assert (await call(box, "fetch", url=site.url("/tea"), readable=True)).startswith(
            "# Tea & more\n\n# How to brew"
        )
        assert await call(box, "fetch", url=site.url("/plain"), readable=True) == "<b>not html</b>"
