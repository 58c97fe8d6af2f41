"""The size/accuracy frontier as an SVG picture: one panel per model, times smaller (logarithmic) against points of top-1
lost (linear near zero, logarithmic beyond)."""

import math
from xml.sax.saxutils import escape

COLUMNS, WIDTH, HEIGHT, GAP, TOP = 2, 400, 210, 74, 96
LEFT = 60
X_TICKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
Y_TICKS = (-5, -2, -1, 0, 1, 2, 5, 10, 20, 50, 100)
# Series: colour, marker, whether its points are joined.
STYLES = {
    "float16": ("#7f7f7f", "circle", False),
    "int8": ("#1f77b4", "square", False),
    "int4": ("#2ca02c", "triangle", False),
    "vq, no data": ("#e08214", "diamond", True),
    "vq, calibrated": ("#c51b3a", "circle", True),
    "vq-4bit": ("#6a1b9a", "star", False),
    "vq-2bit": ("#000000", "star", False),
}


def bend(points):
    """Points lost on the vertical axis: linear within one point, logarithmic beyond."""
    return math.asinh(points * 1.2)


def marker(kind, x, y, colour, title):
    label = f"<title>{escape(title)}</title>" if title else ""
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">{label}</circle>'
    if kind == "square":
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}">{label}</rect>'
    if kind == "star":
        corners = [(7 if i % 2 == 0 else 3, math.pi * (i / 5 - 0.5)) for i in range(10)]
        shape = [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in corners]
    elif kind == "triangle":
        shape = [(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)]
    else:
        shape = [(x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in shape)
    return f'<polygon points="{points}" fill="{colour}">{label}</polygon>'


def text(x, y, content, anchor="start", size=11, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(content)}</text>'


def panel(left, top, name, subtitle, rows):
    """One model. rows: dicts with series, setting, ratio, lost."""
    low_x = math.log(min([1.6] + [row["ratio"] for row in rows]) / 1.08)
    high_x = math.log(max([18] + [row["ratio"] * 1.12 for row in rows]))
    low_y = bend(min([-1] + [row["lost"] for row in rows])) - 0.2
    high_y = bend(max([5] + [row["lost"] for row in rows])) + 0.2

    def at(ratio, lost):
        return (left + WIDTH * (math.log(ratio) - low_x) / (high_x - low_x),
                top + HEIGHT * (high_y - bend(lost)) / (high_y - low_y))

    parts = [text(left, top - 10, name, size=14, more=' font-weight="bold"'),
             text(left + WIDTH, top - 10, subtitle, "end", more=' fill="#555"'),
             f'<rect x="{left}" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>']
    for tick in X_TICKS:
        if low_x <= math.log(tick) <= high_x:
            x, _ = at(tick, 0)
            parts.append(f'<path d="M{x:.1f} {top}V{top + HEIGHT}" stroke="#e4e4e4"/>')
            parts.append(text(x, top + HEIGHT + 15, f"{tick}×", "middle"))
    for tick in Y_TICKS:
        if low_y <= bend(tick) <= high_y:
            _, y = at(2, tick)
            parts.append(f'<path d="M{left} {y:.1f}H{left + WIDTH}" stroke="{"#999" if tick == 0 else "#e4e4e4"}"/>')
            parts.append(text(left - 6, y + 4, str(tick), "end"))
    for series, (colour, kind, joined) in STYLES.items():
        own = sorted((row for row in rows if row["series"] == series), key=lambda row: row["ratio"])
        places = [at(row["ratio"], row["lost"]) for row in own]
        if joined and len(places) > 1:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for row, (x, y) in zip(own, places):
            parts.append(marker(kind, x, y, colour, f'{row["setting"]}: {row["ratio"]:.2f}×, {row["lost"]:.1f} points'))
    return parts


def draw(path, models):
    """models: list of (name, subtitle, rows)."""
    lines = -(-len(models) // COLUMNS)
    full_width = COLUMNS * (LEFT + WIDTH) + 24
    full_height = TOP + lines * (HEIGHT + GAP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{full_width}" height="{full_height}" '
             f'viewBox="0 0 {full_width} {full_height}" font-family="sans-serif">',
             f'<rect width="{full_width}" height="{full_height}" fill="#fff"/>',
             text(LEFT, 22, "Points of top-1 lost (up) against how many times smaller the whole file is (right)",
                  size=14, more=' font-weight="bold"')]
    x = LEFT
    for series, (colour, kind, _) in STYLES.items():
        parts += [marker(kind, x, 42, colour, ""), text(x + 10, 46, series)]
        x += 30 + 7 * len(series)
    for index, (name, subtitle, rows) in enumerate(models):
        column, line = index % COLUMNS, index // COLUMNS
        parts += panel(LEFT + column * (LEFT + WIDTH), TOP + line * (HEIGHT + GAP), name, subtitle, rows)
    parts.append("</svg>")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("\n".join(parts) + "\n")
