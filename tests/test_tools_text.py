"""The tool `text`: what a reader would see of a page, whatever the page."""

from __future__ import annotations

from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import ToolFailed
from tools.text import MAX_CHARACTERS, extract

PAGE = """<!DOCTYPE html>
<html><head><title>Fees &amp; refunds</title><style>p { color: red }</style>
<script>if (1 < 2) { document.write("<p>never seen</p>") }</script></head>
<body><!-- not <p>seen</p> either --><h1>Fees</h1><p>A wire   costs <b>two</b>
euros&nbsp;&euro;.<br>Less is <a href='x>y' title="1 > 0">free</a>.</p>
<ul><li>one</li><li>two<li></ul>
<table><tr><td>from</td><td>to</td></tr><tr><th>1</th><th>2</th></tr></table>
<noscript>turn scripts on</noscript><template><p>later</p></template></body></html>"""


def html(text: str) -> str:
    """Return the text of a page that is declared to be HTML."""
    return extract({"type": "text/html", "text": text})


def test_a_page_is_read_as_a_person_reads_it() -> None:
    """Blocks are lines, cells stay on their line, entities are characters; scripts, styles and comments are gone."""
    expected = ["Fees & refunds", "Fees", "A wire costs two euros €.", "Less is free.", "- one", "- two", "from to"]
    assert extract(PAGE).splitlines() == [*expected, "1 2"]


def test_other_texts_stay_as_they_are() -> None:
    """JSON, Markdown and plain texts are returned without the white space around them, tags or not."""
    assert extract({"type": "text/plain", "text": " a <b>tag</b>\n"}) == "a <b>tag</b>"
    assert extract({"type": "application/json", "text": '{"a": "<p>"}'}) == '{"a": "<p>"}'
    assert extract("1 < 2 and 3 > 2") == "1 < 2 and 3 > 2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<!-- b", "a"),
        ("a<!-->b", "ab"),
        ("a<script>b", "a"),
        ("a<SCRIPT>b</ScRiPt >c", "ac"),
        ("a<p title='b", "a"),
        ("a<p title=it's>b", "a\nb"),
        ("a < b", "a < b"),
        ("a<", "a<"),
        ("a</>b", "ab"),
        ("a<?php x ?>b", "ab"),
        ("a&lt;script>b", "a<script>b"),
        ("&#" + "9" * 5000 + ";", "&#" + "9" * 5000 + ";"),
    ],
)
def test_broken_pages_are_read_as_a_browser_reads_them(text: str, expected: str) -> None:
    """What begins and never ends takes the rest with it; what is no tag is text."""
    assert html(text) == expected


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1)))
def test_what_is_written_comes_out(words: list[str]) -> None:
    """Any escaped texts in paragraphs come out, one per line."""
    paragraphs = "".join(f"<p>{escape(word)}</p>" for word in words if word != "-")
    assert html(paragraphs).split("\n") == ([word for word in words if word != "-"] or [""])


@given(st.text(st.sampled_from("<>!-/= \"'abp&#;scrit\n"), max_size=60))
def test_nothing_is_too_broken(text: str) -> None:
    """Any soup of signs is read to its end, without an error."""
    assert isinstance(html(text), str)


@pytest.mark.parametrize("sign", ["<!--", "<a ", "</", "<script></scrip", "<![CDATA[", "<?", "<p a='", '<p a="', "&#"])
def test_no_page_holds_a_core(sign: str) -> None:
    """What begins over and over and never ends is looked through once; a reader that looks again runs for minutes."""
    page = sign * 300_000
    assert isinstance(html(page), str)


@pytest.mark.parametrize("page", [None, 5, {"type": "text/html"}, {"text": b"bytes"}, "x" * (MAX_CHARACTERS + 1)])
def test_what_is_no_page_is_refused(page: object) -> None:
    """Anything but a text, or a map with one, and a text that is too long, is a failure that no retry mends."""
    with pytest.raises(ToolFailed) as caught:
        extract(page)  # type: ignore[arg-type]
    assert not caught.value.transient
