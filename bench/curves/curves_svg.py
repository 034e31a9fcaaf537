# SPDX-License-Identifier: Apache-2.0
"""The curves as one self-contained SVG: a panel a curve, both axes logarithmic, measured as dots, predicted as a dashed line."""
import math

TITLES = {"threads": "threads", "context": "context, tokens", "batch": "sequences together", "experts": "experts, 8 chosen",
          "density": "weights kept, %", "neurons": "neurons kept"}
COLORS = {"prompt": "#b5531c", "decode": "#1c62b5", "decode 8": "#2b8a4b"}
WIDTH, HEIGHT, LEFT, TOP, COLUMNS = 300, 230, 48, 28, 3


def series_of(rows: list[dict]) -> dict[str, list[dict]]:
    """Rows by line: the batch curve is one line through all its batches; fixed patterns are not on the line of densities."""
    out: dict[str, list[dict]] = {}
    for row in sorted(rows, key=lambda row: row["x"]):
        work = row["work"]
        if ":" in row["recipe"]:
            continue
        if row["curve"] == "batch":
            if work != "prompt":
                out.setdefault("decode", []).append(row)
        elif work in ("prompt", "decode 1", "decode 8"):
            out.setdefault("decode" if work == "decode 1" else work, []).append(row)
    return out


class Axis:
    def __init__(self, values: list[float], begin: float, end: float) -> None:
        self.low, self.high = math.log(min(values)), math.log(max(values))
        self.begin, self.end = begin, end

    def at(self, value: float) -> float:
        share = (math.log(value) - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.begin + share * (self.end - self.begin)


def ticks(low: float, high: float) -> list[float]:
    out = [m * 10.0 ** e for e in range(-3, 7) for m in (1, 2, 5)]
    return [value for value in out if low <= value <= high]


def text(x: float, y: float, words: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{words}</text>'


def panel(curve: str, rows: list[dict]) -> list[str]:
    lines = series_of(rows)
    shown = [row for line in lines.values() for row in line]
    xs = sorted({row["x"] for row in shown})
    ys = [value for row in shown for value in (row["median"], row["predicted"])]
    across, up = Axis(xs, LEFT + 10, WIDTH - 12), Axis(ys, HEIGHT - 34, TOP + 8)
    out = [f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - 4}" height="{HEIGHT - TOP - 26}" fill="none" stroke="#999"/>',
           text((WIDTH + LEFT) / 2, 18, TITLES[curve], extra=' font-weight="bold"')]
    out += [text(across.at(x), HEIGHT - 12, f"{x:g}" if x < 10000 else f"{x / 1024:.0f}k") for x in xs]
    for y in ticks(min(ys), max(ys)):
        out.append(f'<path d="M{LEFT} {up.at(y):.1f}H{WIDTH - 4}" stroke="#e3e3e3"/>')
        out.append(text(LEFT - 4, up.at(y) + 4, f"{y:g}", "end"))
    for name, line in lines.items():
        color = COLORS[name]
        points = {key: " ".join(f"{across.at(row['x']):.1f},{up.at(row[key]):.1f}" for row in line) for key in ("median", "predicted")}
        out.append(f'<polyline points="{points["predicted"]}" fill="none" stroke="{color}" stroke-dasharray="4 3"/>')
        out.append(f'<polyline points="{points["median"]}" fill="none" stroke="{color}"/>')
        out += [f'<circle cx="{across.at(row["x"]):.1f}" cy="{up.at(row["median"]):.1f}" r="2.5" fill="{color}"/>' for row in line]
    return out


def drawing(cpu: str, rows: list[dict]) -> str:
    curves = [curve for curve in TITLES if any(row["curve"] == curve for row in rows)]
    height = 50 + HEIGHT * -(-len(curves) // COLUMNS)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * COLUMNS}" height="{height}" font-family="sans-serif" '
           'font-size="10">', '<rect width="100%" height="100%" fill="#fff"/>',
           text(10, 18, f"Tokens a second on {cpu}: measured (dots), predicted from the roofs of the same run (dashed)", "start")]
    for i, (name, color) in enumerate(COLORS.items()):
        words = "decode, one sequence (batch panel: all)" if name == "decode" else name
        out.append(text(10 + 260 * i, 36, words, "start", f' fill="{color}"'))
    for i, curve in enumerate(curves):
        out.append(f'<g transform="translate({WIDTH * (i % COLUMNS)} {44 + HEIGHT * (i // COLUMNS)})">')
        out += panel(curve, [row for row in rows if row["curve"] == curve])
        out.append("</g>")
    return "\n".join([*out, "</svg>", ""])
