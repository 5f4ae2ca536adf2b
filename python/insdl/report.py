"""A report in one HTML file: words, tables and pictures, nothing to load from elsewhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #e4e4e4; }
th { text-align: left; font-weight: 600; } td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
.verdict { font-size: 1.25rem; background: #eef4fb; padding: .8rem 1rem; border-radius: 6px; }
figcaption, .small { color: #555; font-size: .9rem; } figure { margin: 1rem 0; }
"""


@dataclass(frozen=True)
class Table:
    """A table: head and rows of text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A PNG image (see `png`) with its caption."""

    image: bytes
    caption: str


Part = str | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what follows: paragraphs (text), tables, pictures."""

    title: str
    parts: Sequence[Part]


def render(title: str, verdict: str, sections: Sequence[Section]) -> str:
    """The report's HTML; all text is escaped."""
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="verdict">{html.escape(verdict)}</p>']
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body.extend(_part(part) for part in section.parts)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _part(part: Part) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    if isinstance(part, Table):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in part.head)
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in part.rows)
        return f"<table><tr>{head}</tr>{rows}</table>"
    data = base64.b64encode(part.image).decode()
    caption = html.escape(part.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


def png(figure: Figure, *, dpi: int = 110) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
