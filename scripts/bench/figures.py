"""Formats numbers, tables and bar charts, as text and as SVG."""

import statistics


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def whole(number):
    return "-" if number is None else f"{number:,.0f}"


def ratio(number):
    return "-" if number is None else f"{number:.2f}"


def digits(number):
    """Formats with three significant digits, or with all digits of the integer part if it has more."""
    if number is None:
        return "-"
    return whole(number) if number >= 100 else f"{number:#.3g}".rstrip(".")


def duration(microseconds):
    if microseconds is None:
        return "-"
    for unit, size in (("µs", 1), ("ms", 1e3), ("s", 1e6)):
        if microseconds < 1000 * size:
            break
    return f"{digits(microseconds / size)} {unit}"


def table(titles, rows):
    print("| " + " | ".join(titles) + " |\n|---|" + "---:|" * (len(titles) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def bars(title, unit, values):
    """Returns the lines of a bar chart in plain text."""
    width, most = 50, max(values.values())
    lines = [f"{title}, {unit}"]
    for level, value in values.items():
        lines.append(f"{level:>8,} {'#' * max(1, round(width * value / most)):<{width}} {digits(value)}")
    return lines


def svg(figures):
    """Returns the same bar charts as an SVG image, two in a row."""
    width, bar, gap, top, label, length = 420, 18, 6, 44, 60, 260
    height = top + max(len(values) for _, _, values in figures) * (bar + gap) + 20
    rows = (len(figures) + 1) // 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {rows * height}" width="{2 * width}" '
        f'height="{rows * height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    for index, (title, unit, values) in enumerate(figures):
        left, upper, most = index % 2 * width + 10, index // 2 * height, max(values.values())
        out.append(f'<text x="{left}" y="{upper + 20}" font-weight="bold">{title}</text>')
        out.append(f'<text x="{left}" y="{upper + 36}" fill="#555555">{unit}</text>')
        for line, (level, value) in enumerate(values.items()):
            y = upper + top + line * (bar + gap)
            drawn = max(1, round(length * value / most))
            out.append(f'<text x="{left + label - 6}" y="{y + 13}" text-anchor="end">{level:,}</text>')
            out.append(f'<rect x="{left + label}" y="{y}" width="{drawn}" height="{bar}" fill="#4477aa"/>')
            out.append(f'<text x="{left + label + drawn + 6}" y="{y + 13}">{digits(value)}</text>')
    return "\n".join([*out, "</svg>", ""])
