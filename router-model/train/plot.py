"""A reliability plot as SVG, readable on light and dark pages."""

SIZE, MARGIN = 320, 44
COLOURS = ("#2f7ed8", "#d9822b")


def reliability(path, curves):
    """`curves`: name to the rows of `measure.reliability`. A point is a bin; its area grows with the rows in it."""
    x = lambda p: MARGIN + p * SIZE
    y = lambda p: MARGIN / 2 + (1 - p) * SIZE
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE + 2 * MARGIN} {SIZE + 2 * MARGIN}" font-family="sans-serif" font-size="11" fill="#888">',
             f'<rect x="{x(0)}" y="{y(1)}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#888"/>',
             f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="#888" stroke-dasharray="4 3"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<text x="{x(tick)}" y="{y(0) + 15}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{x(0) - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    for at, (name, bins) in enumerate(curves.items()):
        total = sum(entry["rows"] for entry in bins)
        points = " ".join(f'{x(entry["predicted"]):.1f},{y(entry["observed"]):.1f}' for entry in bins)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[at]}"/>')
        for entry in bins:
            radius = 1.5 + 14 * (entry["rows"] / total) ** 0.5
            parts.append(f'<circle cx="{x(entry["predicted"]):.1f}" cy="{y(entry["observed"]):.1f}" r="{radius:.1f}" fill="{COLOURS[at]}" fill-opacity="0.35"/>')
        parts.append(f'<text x="{x(0) + 10}" y="{y(1) + 18 + 15 * at}" fill="{COLOURS[at]}">{name}</text>')
    parts.append(f'<text x="{x(0.5)}" y="{y(0) + 34}" text-anchor="middle">predicted P(a strong model is needed)</text>')
    parts.append(f'<text transform="translate({x(0) - 32} {y(0.5)}) rotate(-90)" text-anchor="middle">observed share of failures</text></svg>')
    path.write_text("\n".join(parts) + "\n")
