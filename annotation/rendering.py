"""Markdown to HTML. Model output is hostile text: no HTML of its own, no images, nothing active gets through."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from html import escape

import nh3
from django.utils.formats import number_format
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import ngettext
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LONGEST = 100_000  # characters; beyond, and beyond MOST_MARKS, Markdown is shown as it came
MOST_MARKS = 20_000  # of the characters whose parsing may take time quadratic in their number
LONGEST_CODE = 20_000

BLOCKS = {"p", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "th", "td"}
TAGS = BLOCKS | {"a", "br", "hr", "em", "strong", "s", "code", "pre", "span", "table", "thead", "tbody", "tr"}
ATTRIBUTES = {tag: {"dir"} for tag in BLOCKS} | {"a": {"href", "title"}, "ol": {"dir", "start"}, "span": {"class"}}
PYGMENTS_CLASS = re.compile(r"[a-z]{1,2}[0-9]?")

CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
WORD = re.compile(r"\w+(?:['’.\-]\w+)*")


@lru_cache(maxsize=512)  # an answer is shown to everyone who judges it
def render_markdown(text: str, *, first_heading: int = 4) -> SafeString:
    """HTML that is safe on any page. Headings start at `first_heading`, so that they fit below the page's own."""
    if len(text) > LONGEST or sum(text.count(mark) for mark in "*_[]`<>!~") > MOST_MARKS:
        return mark_safe(f'<pre dir="auto">{escape(text)}</pre>')
    tokens = _markdown.parse(text)
    depth = 0
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, first_heading - 1 + int(token.tag[1]))}"
        if token.nesting == 1 and token.tag in BLOCKS and not depth:
            token.attrSet("dir", "auto")  # each block finds its own direction; a list has one, on its bullets' side
        depth += token.nesting if token.tag in ("ul", "ol", "blockquote") else 0
    html = _markdown.renderer.render(tokens, _markdown.options, {})
    return mark_safe(_allow_only_safe(html))


def direction_of(text: str) -> str:
    """That of the first letter which has one, as dir="auto" does."""
    kinds = (unicodedata.bidirectional(character) for character in text)
    return "rtl" if next((kind for kind in kinds if kind in ("L", "R", "AL")), "L") in ("R", "AL") else "ltr"


def length_of(text: str) -> str:
    """How long a text is, in the unit that its script is counted in: "142 words", "86 characters"."""
    characters = len(CJK.findall(text))
    words = len(WORD.findall(CJK.sub(" ", text)))
    n = number_format(max(characters, words), force_grouping=True)
    if characters > words:
        return ngettext("%(n)s character", "%(n)s characters", characters) % {"n": n}
    return ngettext("%(n)s word", "%(n)s words", words) % {"n": n}


def _allow_only_safe(html: str) -> str:
    return nh3.clean(
        html,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=lambda tag, name, value: value if name != "class" or PYGMENTS_CLASS.fullmatch(value) else None,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},  # following a link must not lose the task
    )


def _code(code: str, language: str, _attributes: str) -> str:
    try:
        lexer = get_lexer_by_name(language) if language and len(code) <= LONGEST_CODE else None
    except ClassNotFound:
        lexer = None
    return highlight(code, lexer, HtmlFormatter(nowrap=True)) if lexer else escape(code)


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    """An image is shown as it was written: loading it would tell a stranger who looks, and when."""
    return f"<code>![{escape(tokens[index].content)}]({escape(str(tokens[index].attrGet('src')))})</code>"


# "commonmark" limits nesting to 20; line breaks count, for people and models write them with intent.
_markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "highlight": _code}).enable(
    ["table", "strikethrough"]
)
_markdown.add_render_rule("image", _image)
