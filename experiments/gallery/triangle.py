"""Draw the three contractions of the trilinear form T, the picture of the README.

    python experiments/gallery/triangle.py

Each panel shows a 5x5 input x, a 3x3 kernel k and the 3x3 output y of one convolution. One slot is
left empty: one of its elements is computed (orange) from the elements of the other two (blue).
Factors with the same number are multiplied with each other, and the products are added up.
"""

from pathlib import Path
from xml.sax.saxutils import escape

FILE = Path(__file__).with_suffix(".svg")

CELL = 17
PANEL_WIDTH, HEIGHT = 272, 292
# The centre of each slot's grid in a panel, and the grid's side.
CENTRES = {"x": (72, 172), "k": (136, 48), "y": (210, 172)}
SIDES = {"x": 5, "k": 3, "y": 3}

BLUE, ORANGE, WHITE = "#cfe0f7", "#f6a35c", "#ffffff"
INK, GREY = "#1f2933", "#9aa5b1"

IN_ORDER = {(row, column): 3 * row + column + 1 for row in range(3) for column in range(3)}
BACKWARDS = {place: 10 - number for place, number in IN_ORDER.items()}
WINDOW_AT_0_1 = {(row, column + 1): number for (row, column), number in IN_ORDER.items()}

# For each panel: the slot that is computed and the element, the numbers of the other two slots'
# elements, and two lines of text.
PANELS = [
    # y[0,1] = Σ_r x[r + (0,1)] k[r]
    ("y", (0, 1), {"x": WINDOW_AT_0_1, "k": IN_ORDER}, "conv(x, k)", "∂T/∂y: the forward pass"),
    # x[2,2] = Σ_p y[p] k[(2,2) - p]: the taps are met in reverse order.
    (
        *("x", (2, 2), {"y": IN_ORDER, "k": BACKWARDS}, "conv_input_vjp(y, k)"),
        "∂T/∂x: the kernel, rotated by 180°",
    ),
    # k[0,1] = Σ_p x[p + (0,1)] y[p]
    (
        *("k", (0, 1), {"x": WINDOW_AT_0_1, "y": IN_ORDER}, "conv_kernel_vjp(x, y)"),
        "∂T/∂k: y is the window",
    ),
]


def text(x, y, content, size, style=""):
    """One line of text, centred at `x`."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{INK}" text-anchor="middle"{style}>'
        f"{escape(content)}</text>"
    )


def grid(slot, target, numbers):
    """The elements of one slot, `target` in orange and those that have a number in blue."""
    side, (middle, centre) = SIDES[slot], CENTRES[slot]
    left, top = middle - side * CELL / 2, centre - side * CELL / 2
    parts = []
    for row in range(side):
        for column in range(side):
            place = row, column
            colour = ORANGE if place == target else BLUE if place in numbers else WHITE
            x, y = left + column * CELL, top + row * CELL
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{CELL}" height="{CELL}" fill="{colour}" '
                f'stroke="{GREY}"/>'
            )
            if place in numbers:
                parts.append(text(x + CELL / 2, y + CELL - 5, str(numbers[place]), 10))
    at = (left - 12, centre + 5) if slot != "y" else (left + side * CELL + 12, centre + 5)
    parts.append(text(*at, slot, 17, ' font-style="italic"'))
    return parts


def line(start, end, is_arrow):
    """A side of the triangle between the grids of two slots; an arrow if it leads to the target."""
    (x0, y0), (x1, y1) = CENTRES[start], CENTRES[end]
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
    from_start, to_end = (SIDES[slot] * CELL / 2 + 9 for slot in (start, end))
    if start == "k" or end == "k":  # steep sides leave a square later than level ones
        from_start, to_end = from_start + 7, to_end + 7
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    points = (x0 + from_start * dx, y0 + from_start * dy, x1 - to_end * dx, y1 - to_end * dy)
    style = f'stroke="{INK}" marker-end="url(#arrow)"' if is_arrow else f'stroke="{GREY}"'
    x0, y0, x1, y1 = (f"{point:.1f}" for point in points)
    return f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke-width="1.6" {style}/>'


def panel(target_slot, target, numbers, function, meaning):
    first, second = (slot for slot in "xky" if slot != target_slot)
    parts = [
        line(first, target_slot, True),
        line(second, target_slot, True),
        line(first, second, False),
        text(*(sum(c[axis] for c in CENTRES.values()) / 3 + 4 * axis for axis in (0, 1)), "T", 17),
    ]
    for slot in "xky":
        is_target = slot == target_slot
        parts += grid(slot, target if is_target else None, numbers.get(slot, {}))
    parts.append(text(PANEL_WIDTH / 2, 250, function, 14, ' font-family="monospace"'))
    parts.append(text(PANEL_WIDTH / 2, 273, meaning, 13))
    return parts


def drawing():
    """The picture, as the text of an SVG file."""
    width = PANEL_WIDTH * len(PANELS)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" '
        f'height="{HEIGHT}" font-family="Helvetica, Arial, sans-serif">',
        "<title>The three contractions of T(x, k, y)</title>",
        f'<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
        f'<rect width="{width}" height="{HEIGHT}" rx="8" fill="{WHITE}"/>',  # for dark pages
    ]
    for index, arguments in enumerate(PANELS):
        lines += [f'<g transform="translate({index * PANEL_WIDTH} 0)">', *panel(*arguments), "</g>"]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    FILE.write_text(drawing(), encoding="utf-8")
