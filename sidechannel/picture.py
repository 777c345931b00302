"""Plot of the ROC curves as an SVG."""

from collections.abc import Mapping, Sequence
from html import escape

SIZE = 320  # pixels, width and height of the plot
LEFT = 50  # pixels, margin for labels
COLOURS = ("#2f6f9f", "#b5502f")


def picture(curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """An SVG with named curves of (false positive rate, true positive rate)."""
    parts = [
        f'<rect width="{SIZE + 2 * LEFT}" height="{SIZE + 2 * LEFT}" fill="#fff"/>',
        f'<rect x="{LEFT}" y="{LEFT}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#9aa5b1"/>',
        f'<path d="M{LEFT} {LEFT + SIZE}L{LEFT + SIZE} {LEFT}" stroke="#9aa5b1" stroke-dasharray="4"/>',
        f'<text x="{LEFT}" y="{SIZE + LEFT + 30}">false positive rate, 0 to 1</text>',
        f'<text x="{LEFT}" y="{LEFT - 14}">true positive rate, 0 to 1</text>',
    ]
    for row, (name, curve) in enumerate(curves.items()):
        points = "L".join(f"{LEFT + x * SIZE:.1f} {LEFT + (1 - y) * SIZE:.1f}" for x, y in curve)
        parts.append(f'<path d="M{points}" fill="none" stroke="{COLOURS[row]}" stroke-width="2"/>')
        height = LEFT + SIZE - 40 + 20 * row
        parts.append(f'<text x="{LEFT + SIZE // 3}" y="{height}" fill="{COLOURS[row]}">{escape(name)}</text>')
    style = 'font-family="sans-serif" font-size="12"'
    side = SIZE + 2 * LEFT
    return "\n".join(
        [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" {style}>', *parts, "</svg>", ""]
    )
