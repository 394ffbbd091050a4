"""Pages of labels as a PDF, or each as an SVG."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from hub.sheets.labels import PAGE_MM, Drawn, Line

_POINTS_PER_MM = 72 / 25.4
_CHINESE_FONT = "STSong-Light"  # PDF readers bring it along, so nothing is embedded
_LATIN_FONT, _FIXED_FONT = "Helvetica", "Courier-Bold"


def pdf_bytes(pages: Iterable[Sequence[Drawn]]) -> bytes:
    """All pages as one PDF."""
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont  # takes a while, and only this needs it
    from reportlab.pdfbase.pdfmetrics import registerFont
    from reportlab.pdfgen.canvas import Canvas

    registerFont(UnicodeCIDFont(_CHINESE_FONT))
    out = io.BytesIO()
    size = (PAGE_MM[0] * _POINTS_PER_MM, PAGE_MM[1] * _POINTS_PER_MM)
    canvas = Canvas(out, pagesize=size, pageCompression=1, invariant=1)
    canvas.setTitle("dormhub labels")
    for page in pages:
        canvas.scale(_POINTS_PER_MM, _POINTS_PER_MM)
        path = canvas.beginPath()
        for box in (box for label in page for box in label.boxes):
            bottom = PAGE_MM[1] - box.y_mm - box.height_mm
            path.rect(box.x_mm, bottom, box.width_mm, box.height_mm)
        canvas.drawPath(path, stroke=0, fill=1)
        for line in (line for label in page for line in label.lines):
            canvas.setFont(_font(line), line.size_mm)
            canvas.drawString(line.x_mm, PAGE_MM[1] - line.y_mm, line.text)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _font(line: Line) -> str:
    if line.fixed_width:
        return _FIXED_FONT
    return _LATIN_FONT if line.text.isascii() else _CHINESE_FONT


def svg_bytes(page: Sequence[Drawn]) -> bytes:
    """One page as an SVG."""
    width, height = PAGE_MM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm"'
        f' viewBox="0 0 {width:g} {height:g}">'
    ]
    for label in page:
        path = "".join(
            f"M{box.x_mm:.4f} {box.y_mm:.4f}h{box.width_mm:.4f}v{box.height_mm:.4f}"
            f"h-{box.width_mm:.4f}z"
            for box in label.boxes
        )
        parts.append(f'<path d="{path}"/>')
        for line in label.lines:
            family = "monospace" if line.fixed_width else "sans-serif"
            parts.append(
                f'<text x="{line.x_mm:.3f}" y="{line.y_mm:.3f}" font-size="{line.size_mm:.3f}"'
                f' font-family="{family}">{escape(line.text)}</text>'
            )
    return "\n".join([*parts, "</svg>", ""]).encode()
