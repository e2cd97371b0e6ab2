"""Plots as SVG, a few lines each. Every picture carries its own ground, light or dark as the reader's system is set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH: Final = 900
_ROW: Final = 22
_TOP: Final = 46
_BOTTOM: Final = 34
_TEXT: Final = 470
_RIGHT: Final = 70
_LONGEST: Final = 74
_STYLE: Final = """<style>
.g{fill:#ffffff;stroke:#d0d7de}text{font:12px -apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.t{font-size:14px;font-weight:600}.m{fill:#59636e}.a{stroke:#d1d9e0}.o{fill:#1a7f37}.x{fill:#cf222e}.n{fill:#0969da}
.l{stroke:#0969da;fill:none;stroke-width:2}.k{stroke:#9a6700;stroke-width:2;stroke-dasharray:5 3}
@media (prefers-color-scheme:dark){.g{fill:#0d1117;stroke:#3d444d}text{fill:#f0f6fc}.m{fill:#9198a1}.a{stroke:#3d444d}
.o{fill:#3fb950}.x{fill:#f85149}.n{fill:#4493f8}.l{stroke:#4493f8}.k{stroke:#d29922}}
</style>"""


def _picture(height: float, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
        f'role="img" aria-label="{escape(title)}">'
    )
    ground = f'<rect class="g" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:g}" rx="6"/>'
    heading = f'<text class="t" x="16" y="26">{escape(title)}</text>'
    return "\n".join((head, _STYLE, ground, heading, *parts, "</svg>")) + "\n"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def bars(title: str, rows: Sequence[tuple[str, float, bool]], *, mark: str) -> str:
    """Return bars on a logarithmic scale; each row is (name, ratio, good), and 1 is marked with `mark`."""
    left, right = _TEXT, WIDTH - _RIGHT
    ratios = [max(ratio, 1e-3) for _, ratio, _ in rows]
    low = math.floor(min([math.log10(ratio) for ratio in ratios] + [-0.3]))
    high = math.ceil(max([math.log10(ratio) for ratio in ratios] + [0.3]))

    def x(ratio: float) -> float:
        return left + (right - left) * (math.log10(ratio) - low) / (high - low)

    height = _TOP + _ROW * len(rows) + _BOTTOM
    parts = []
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<line class="a" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 8}" y2="{height - _BOTTOM}"/>')
        parts.append(f'<text class="m" x="{at:.1f}" y="{height - 14}" text-anchor="middle">{10.0**power:g}</text>')
    for index, ((name, ratio, good), shown) in enumerate(zip(rows, ratios, strict=True)):
        y = _TOP + _ROW * index
        first, last = sorted((x(1.0), x(shown)))
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(_short(name))}</text>')
        parts.append(
            f'<rect class="{"o" if good else "x"}" x="{first:.1f}" y="{y + 2}" '
            f'width="{max(last - first, 2):.1f}" height="12"/>'
        )
        parts.append(f'<text class="m" x="{right + 6}" y="{y + 12}">{ratio:,.3g}</text>')
    parts.append(f'<line class="k" x1="{x(1):.1f}" x2="{x(1):.1f}" y1="{_TOP - 8}" y2="{height - _BOTTOM}"/>')
    parts.append(f'<text class="m" x="{x(1) + 4:.1f}" y="{_TOP - 12}">{escape(mark)}</text>')
    return _picture(height, title, parts)


def amounts(title: str, rows: Sequence[tuple[str, float, float | None]], *, unit: str) -> str:
    """Return bars from 0; each row is (name, amount, what is asked or none), the latter as a dashed line."""
    left, right = _TEXT, WIDTH - _RIGHT - 40
    most = max([amount for _, amount, _ in rows] + [asked for _, _, asked in rows if asked is not None]) or 1.0
    height = _TOP + _ROW * len(rows) + _BOTTOM
    parts = []
    for index, (name, amount, asked) in enumerate(rows):
        y = _TOP + _ROW * index
        wide = (right - left) * amount / most
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(_short(name))}</text>')
        parts.append(f'<rect class="n" x="{left}" y="{y + 2}" width="{max(wide, 1):.1f}" height="12"/>')
        parts.append(f'<text class="m" x="{left + wide + 6:.1f}" y="{y + 12}">{_amount(amount)}</text>')
        if asked is not None:
            at = left + (right - left) * asked / most
            parts.append(f'<line class="k" x1="{at:.1f}" x2="{at:.1f}" y1="{y - 1}" y2="{y + 17}"/>')
    parts.append(f'<text class="m" x="{left}" y="{height - 12}">{escape(unit)}; dashed: what is asked</text>')
    return _picture(height, title, parts)


def curve(title: str, points: Sequence[Sequence[float]], *, x_name: str, y_name: str, asked: float | None) -> str:
    """Return a line through `points` (x, y), both from 0; `asked` is a dashed line."""
    left, right, top, bottom = 70, WIDTH - 30, _TOP, 300
    widest = 10.0 * math.ceil(max(x for x, _ in points) / 10) or 1.0
    highest = 1.1 * max([y for _, y in points] + ([asked] if asked is not None else [])) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * x / widest, bottom - (bottom - top) * y / highest

    parts = []
    for step in range(5):
        x, y = at(widest * step / 4, highest * step / 4)
        parts.append(f'<line class="a" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="m" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{highest * step / 4:.3g}</text>'
        )
        parts.append(
            f'<text class="m" x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{widest * step / 4:.3g}</text>'
        )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
    parts.append(f'<polyline class="l" points="{line}"/>')
    if asked is not None:
        _, y = at(0, asked)
        parts.append(f'<line class="k" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="m" x="{right - 4}" y="{y - 6:.1f}" text-anchor="end">asked: {asked:g}</text>')
    parts.append(
        f'<text class="m" x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_name)}</text>'
    )
    parts.append(f'<text class="m" x="16" y="{top - 4}">{escape(y_name)}</text>')
    return _picture(bottom + 52, title, parts)


def _amount(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value / 1e3:,.0f} k" if value >= 1e4 else f"{value:,.3g}"
