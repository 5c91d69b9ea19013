"""report.html: the report as one file that needs nothing else, for a browser.

Pictures are inside it. It has no script and fetches nothing, and its policy says so to
the browser, whatever a data set or a stage is called.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light; }
body { max-width: 64rem; margin: 0 auto; padding: 1rem; color: #1a1a1a;
  background: #fff; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
code { background: #f2f2f2; padding: 0 .2em; border-radius: 3px; }
blockquote { margin: 1rem 0; padding: .1rem 1rem; border-left: 4px solid #D55E00;
  background: #fdf3ec; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
  white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff;
  white-space: normal; }
img { width: calc(var(--pixels) * .74); max-width: 100%; height: auto; }
@media (max-width: 40rem) { /* a phone: what is wide scrolls, at a size to be read */
  th, td { padding: .3rem .4rem; }
  table { width: max-content; }
  th { max-width: 6rem; }
  th:first-child, td:first-child { max-width: 45vw; overflow-wrap: anywhere; }
  p:has(> img) { overflow-x: auto; }
  img { width: calc(var(--pixels) * .5); max-width: none; }
}
"""


def page(text: str, pictures: Path) -> str:
    """The report's Markdown as a page; `pictures` is where its images' paths start.

    Of an image that is no file there the words remain.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title, links = "", list[str]()
    for at, token in enumerate(tokens):
        if token.type == "heading_open":
            name = _words(tokens[at + 1])
            if token.tag == "h1":
                title = title or name
            elif token.tag == "h2":
                token.attrSet("id", f"part-{len(links) + 1}")
                links.append(f'<a href="#part-{len(links) + 1}">{escape(name)}</a>')
        elif token.type == "inline":
            token.children = list(_embedded(token.children or (), pictures))
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", '<div class="wide"><table>')
    body = body.replace("</table>", "</table></div>")
    heading, end, rest = body.partition("</h1>")
    contents = "\n".join(("\n<nav>", *links, "</nav>"))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{heading}{end}{contents}{rest}</body>\n</html>\n"
    )


def _words(inline: Token) -> str:
    """The text of a heading, without its marks."""
    kinds = ("text", "code_inline")
    return "".join(t.content for t in inline.children or () if t.type in kinds)


def _embedded(tokens: Iterable[Token], pictures: Path) -> Iterator[Token]:
    """The tokens of a line: pictures inside, and no link to another place."""
    for token in tokens:
        if token.type in ("link_open", "link_close"):
            continue
        if token.type == "image":
            path = (pictures / str(token.attrGet("src"))).resolve()
            if not (path.is_relative_to(pictures.resolve()) and path.is_file()):
                yield Token("text", "", 0, content=token.content)
                continue
            png = path.read_bytes()
            if width := int.from_bytes(png[16:20]):  # of its header
                token.attrSet("style", f"--pixels: {width}px")
            inside = base64.b64encode(png).decode("ascii")
            token.attrSet("src", f"data:image/png;base64,{inside}")
        yield token
