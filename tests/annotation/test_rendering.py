"""Markdown from models is hostile text; what comes out is safe on any page, and quick to come."""

import re
import time

import pytest

from annotation.rendering import direction_of, length_of, render_markdown


def test_markdown_becomes_html():
    html = render_markdown("Take **two** eggs:\n\n- one\n- two\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n~~never~~")

    assert "<strong>two</strong>" in html and "<li" in html and "<td" in html and "<s>never</s>" in html


def test_a_line_break_is_one():
    assert "<br>" in render_markdown("roses\nviolets")


def test_code_is_coloured_by_classes_only():
    html = render_markdown("```python\ndef egg():\n    return '<b>'\n```")

    assert '<span class="k">def</span>' in html and "&lt;b&gt;" in html
    assert "style=" not in html


def test_code_in_a_language_nobody_knows_is_shown_plain():
    assert "&lt;egg&gt;" in render_markdown('```button"primary onclick=x\n<egg>\n```')


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![tracker](https://example.org/pixel.png)",
        '![x](https://example.org/"onerror="alert(1))',
        "[click](javascript:alert(1))",
        "[click](JaVaScRiPt:alert(1))",
        "[click](java\tscript:alert(1))",
        "[click](&#106;avascript:alert(1))",
        "[click](data:text/html;base64,PHNjcmlwdD4=)",
        "[click](vbscript:x)",
        "<javascript:alert(1)>",
        "<svg/onload=alert(1)>",
        "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
        "<iframe src=//example.org></iframe>",
        '<a href="x" style="position:fixed;inset:0">x</a>',
        "<style>body{display:none}</style>",
        "<form action=//example.org><button>Submit</button></form>",
        "<meta http-equiv=refresh content=0>",
        "<!--><script>alert(1)</script-->",
        "```<script>alert(1)</script>\n```",
        '[a](https://example.org "x\\" onmouseover=\\"alert(1)")',
        "| a |\n|:-:|\n| <script>alert(1)</script> |",
    ],
)
def test_nothing_active_gets_through(hostile):
    html = render_markdown(hostile).lower()

    for tag in ("<script", "<img", "<svg", "<iframe", "<style", "<form", "<button", "<meta", "<object", "<!--"):
        assert tag not in html
    for tag in re.findall(r"<[^>]*>", html):
        assert "javascript:" not in tag and "data:" not in tag
        names = re.sub(r'"[^"]*"', "", tag)  # attribute names without their values
        assert not re.search(r"\s(on\w+|style|srcset|src)\b", names)


def test_a_title_cannot_break_out_of_its_attribute():
    html = render_markdown('[a](https://example.org "x\\" onmouseover=\\"alert(1)")')

    assert 'title="x&quot; onmouseover=&quot;alert(1)"' in html


def test_an_image_is_shown_as_it_was_written():
    html = render_markdown("![a <b>](https://example.org/p.png)")

    assert "<code>![a &lt;b&gt;](https://example.org/p.png)</code>" in html


def test_links_open_beside_and_tell_nothing():
    html = render_markdown("[docs](https://example.org)")

    assert 'rel="noopener noreferrer nofollow"' in html and 'target="_blank"' in html


def test_each_block_finds_its_own_direction():
    html = render_markdown("Hello\n\nמה שלומך\n\n- مرحبا")

    assert html.count('<p dir="auto">') == 2
    assert '<ul dir="auto">\n<li>' in html  # one direction for the list and its bullets


def test_direction_is_that_of_the_first_letter():
    assert direction_of("42 % مرحبا hello") == "rtl"
    assert direction_of("hello مرحبا") == direction_of("42") == "ltr"


def test_headings_fit_below_those_of_the_page():
    assert "<h4" in render_markdown("# Big") and "<h6" in render_markdown("##### Small")
    assert "<h2" in render_markdown("# Big", first_heading=2)


@pytest.mark.parametrize(
    "huge",
    [
        ">" * 50_000 + "x",
        "- " * 50_000,
        "*a **a " * 15_000,
        "[" * 50_000,
        "![" * 40_000 + "](x)",
        "`" * 9_999 + " " + "`" * 9_998,
        "_" * 60_000,
        "|a" * 2_000 + "\n" + "|-" * 2_000 + "\n" + "|b" * 2_000,
        "a" * 99_000,
        "(((((" * 15_000,
        "&" * 90_000,
        "\\" * 90_000,
        "1. " * 30_000,
        "<" * 19_000,
        "word *em* [link](http://a.b) " * 3_000,
    ],
)
def test_huge_and_nested_text_takes_no_more_than_a_moment(huge):
    began = time.process_time()

    html = render_markdown.__wrapped__(huge)

    assert html and time.process_time() - began < 3


def test_length_is_told_in_the_unit_of_the_script():
    assert length_of("Eggs keep five weeks.") == "4 words"
    assert length_of("鸡蛋可以保存五周。") == "8 characters"
    assert length_of("one") == "1 word"
    assert length_of("egg " * 1488) == "1,488 words"
    assert length_of("") == "0 words"
