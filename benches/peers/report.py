#!/usr/bin/env python3
"""Tables in Markdown and a chart in SVG, of the rows that compare.py wrote.

    python report.py RESULTS.jsonl --markdown ../RESULTS.md --chart ../results.svg
"""
import argparse
import datetime
import json
import math
import os
import platform

import workloads

# A column: its title, and the rows that count (peer, modes).
COLUMNS = [
    ("JAX", "jax", ("jit", "jit-jvp")),
    ("PyTorch", "torch", ("eager",)),
    ("PyTorch, compiled", "torch", ("compile",)),
    ("TensorFlow", "tensorflow", ("function",)),
    ("TensorFlow, XLA", "tensorflow", ("xla",)),
    ("CasADi", "casadi", ("vm",)),
    ("CasADi, C", "casadi", ("c",)),
    ("candle", "rust", ("candle",)),
    ("burn", "rust", ("burn",)),
    ("num-dual", "rust", ("num-dual",)),
]
# Of systems in the chart: colours that differ for all eyes, and in grey.
COLOURS = {
    "JAX": "#0072b2", "PyTorch": "#f0a88c", "PyTorch, compiled": "#d55e00", "TensorFlow": "#8ed1b8",
    "TensorFlow, XLA": "#009e73", "CasADi": "#d9b3c9", "CasADi, C": "#a03c78", "candle": "#b8a000",
    "burn": "#6b6b6b", "num-dual": "#111111",
}


class Table:
    """Rows by what is asked for."""

    def __init__(self, rows):
        self.rows = {(r["workload"], r["threads"], r["peer"], r["mode"]): r for r in rows}
        self.names = [n for n in workloads.ORDER if any(key[0] == n for key in self.rows)]
        self.threads = sorted({key[1] for key in self.rows})
        self.columns = [c for c in COLUMNS if any("ns" in self.of(n, t, c) for n in self.names for t in self.threads)]

    def ours(self, name, threads, mode="compiled"):
        return self.rows.get((name, threads, "backstitch", mode), {})

    def of(self, name, threads, column):
        _, peer, modes = column
        found = [self.rows[name, threads, peer, m] for m in modes if (name, threads, peer, m) in self.rows]
        return found[0] if found else {}

    def ratio(self, name, threads, column):
        """How many times as long as ours; and whether that is on one thread."""
        ours = self.ours(name, threads).get("ns")
        row, alone = self.of(name, threads, column), False
        if "ns" not in row and threads > 1:
            # What can't use more threads is compared as it is.
            row, alone = self.of(name, 1, column), True
            alone = "ns" in row
        if ours is None or "ns" not in row:
            return None, False
        return row["ns"] / ours, alone


def number(x):
    """To two digits, or three above 100."""
    if x >= 99.5:
        digits = 3 - len(str(int(x)))
        return f"{round(x, digits):,.0f}"
    return f"{x:.0f}" if x >= 9.95 else f"{x:.1f}" if x >= 0.995 else f"{x:.2f}"


def duration(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{number(ns / size)} {unit}"
    return f"{number(ns)} ns"


def line(cells):
    return "| " + " | ".join(cells) + " |\n"


def head(cells):
    return line(cells) + line(["---"] * len(cells))


def ratios(table, threads):
    titles = [c[0] for c in table.columns]
    text = head(["program", "Backstitch", *titles, "best of these", "Backstitch, eager"])
    for name in table.names:
        ours = table.ours(name, threads)
        if "ns" not in ours:
            continue
        found = [table.ratio(name, threads, c) for c in table.columns]
        cells = ["" if r is None else number(r) + ("¹" if alone else "") for r, alone in found]
        best = min((r for r, _ in found if r is not None), default=None)
        eager = table.ours(name, threads, "eager").get("ns")
        text += line([name, duration(ours["ns"]), *cells, "" if best is None else f"**{number(best)}**",
                      "" if eager is None else number(eager / ours["ns"])])
    return text


def first_calls(table):
    titles = [c[0] for c in table.columns]
    text = head(["program", "Backstitch", *titles])
    for name in table.names:
        ours = table.ours(name, 1).get("first_call_s")
        firsts = [table.of(name, 1, c).get("first_call_s") for c in table.columns]
        if ours is not None:
            text += line([name, duration(ours * 1e9), *["" if f is None else duration(f * 1e9) for f in firsts]])
    return text


def widths(table, files):
    """Compiled programs with vectors of so many bits, one after the other: rows of the workloads bench with `--limits`."""
    rows = {}
    for bits, path in files:
        with open(path) as f:
            for row in map(json.loads, f):
                if row.get("mode") == "compiled":
                    rows.setdefault(row["workload"], {})[bits] = row
    all_bits = [bits for bits, _ in files]
    widest = all_bits[-1]
    text = head(["program", *[f"{bits} bits" for bits in all_bits], f"{all_bits[0]} ÷ {widest}", "÷ limit", "best other ÷ ours",
                 "trace to callable"])
    for name in sorted(rows, key=lambda n: table.names.index(n) if n in table.names else len(table.names)):
        row = rows[name]
        if len(row) < len(all_bits):
            continue
        ns = [row[bits]["per_call_ns"]["median"] for bits in all_bits]
        limit = (row[widest].get("limit") or {}).get("times")
        found = [table.ratio(name, 1, c)[0] for c in table.columns]
        best = min((r for r in found if r is not None), default=None)
        text += line([name, *map(duration, ns), number(ns[0] / ns[-1]), "" if limit is None else number(limit),
                      "" if best is None else number(best), duration(row[widest]["compile_ms"] * 1e6)])
    return text


def machine():
    model = platform.processor()
    try:
        with open("/proc/cpuinfo") as f:
            model = next(l.split(":", 1)[1].strip() for l in f if l.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} processors, {platform.system()}"


def markdown(rows, files=(), more=()):
    table = Table(rows)
    versions = sorted({r["version"] for r in rows if r.get("version")})
    many = [t for t in table.threads if t > 1]
    text = f"""# Side by side

Value and gradients (or the matrix that is said) in Backstitch and in other systems: how many times as long as
Backstitch they take, of one run on one machine, in which the contenders of each program took turns. More than 1 means
that Backstitch is faster. Where there is nothing, the system cannot express the program, was not ready within the limit
that was set (20 seconds to a minute), or was not asked.

{machine()}; {datetime.date.today().isoformat()}. {", ".join(versions)}.

[peers/README.md](peers/README.md) says how to run it, and what is compared. Times are what a caller sees: from Python for
systems that Python hosts (CasADi through its buffer interface, without conversions), from Rust for Backstitch, candle, burn and
num-dual. CasADi computes in double precision everywhere, num-dual in W07. A time is the least of the medians of several
rounds. All values and gradients were compared.

![how many times as long as Backstitch](results.svg)

| program | what it is |
| --- | --- |
"""
    for name in table.names:
        w = workloads.WORKLOADS[name]
        text += line([name, w.formula.replace("|", "\\|") + (", `f64`" if w.dtype == "f64" else "")])
    if 1 in table.threads:
        text += "\n## One thread\n\n" + ratios(table, 1)
    for threads in many:
        text += f"\n## {threads} threads\n\n" + ratios(table, threads)
        text += "\n¹ on one thread, as it does not use more.\n"
    if files:
        text += (f"""
## Vectors

Compiled programs on one thread, with vectors of {files[0][0]} bits, as Cranelift makes them, and wider ones; the same bits come out.
The limit is the time that memory or arithmetic takes at least, from the bytes and operations of the program and what the machine
was measured to do in the same run; arithmetic counts fused multiply-adds at full width, which few programs consist of.

""" + widths(table, files))
    for path in more:
        with open(path) as f:
            text += "\n" + f.read()
    if 1 in table.threads:
        text += "\n## From nothing to the first result\n\nTracing, compiling and the first call, on one thread.\n\n"
        text += first_calls(table)
    wrong = [f"- {r['workload']}, {r['peer']} {r['mode']}: {'; '.join(r['differences'])}\n"
             for r in rows if r.get("differences")]
    if wrong:
        text += "\n## Other values\n\n" + "".join(wrong)
    errors = {f"- {r['workload']}, {r['peer']} {r['mode']}: {r['error'].split('. ')[0]}\n"
              for r in rows if r.get("error") and r["threads"] == 1}
    if errors:
        text += "\n## What did not run\n\n" + "".join(sorted(errors))
    return text


def chart(rows):
    """A row for each program, a dot for each system, along a logarithmic axis."""
    table = Table(rows)
    threads = table.threads[0]
    left, right, top, step, width = 150, 20, 84, 22, 880
    points = [(i, c[0], table.ratio(name, threads, c)[0]) for i, name in enumerate(table.names) for c in table.columns]
    points = [p for p in points if p[2] is not None]
    if not points:
        return ""
    low = min(0.5, *(r for _, _, r in points))
    low, high = math.log10(low) - 0.05, math.log10(max(10, *(r for _, _, r in points))) + 0.1
    x = lambda r: left + (math.log10(r) - low) / (high - low) * (width - left - right)
    bottom = top + step * len(table.names)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 40}" width="{width}" '
           f'height="{bottom + 40}" font-family="sans-serif" font-size="12" fill="#222">',
           f'<rect width="{width}" height="{bottom + 40}" fill="#fff"/>',
           f'<text x="{left}" y="20" font-size="14">Time for value and gradients, as multiples of Backstitch\'s '
           f'({threads} thread{"s" if threads > 1 else ""}; right of the line: slower)</text>']
    for i, (title, *_) in enumerate(table.columns):
        at, y = left + (i % 5) * 140, 42 + (i // 5) * 18
        out.append(f'<circle cx="{at + 5}" cy="{y - 4}" r="5" fill="{COLOURS[title]}"/>'
                   f'<text x="{at + 15}" y="{y}">{title}</text>')
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = x(10 ** power)
        out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{top - 6}" y2="{bottom}" '
                   f'stroke="{"#222" if power == 0 else "#ddd"}"/>'
                   f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{10 ** power:,g}</text>')
    for i, name in enumerate(table.names):
        y = top + step * i + step / 2
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{y}" y2="{y}" stroke="#eee"/>'
                   f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{name}</text>')
    for i, title, ratio in points:
        y = top + step * i + step / 2
        out.append(f'<circle cx="{x(ratio):.1f}" cy="{y}" r="5" fill="{COLOURS[title]}" stroke="#fff">'
                   f'<title>{title}: {number(ratio)}</title></circle>')
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results")
    parser.add_argument("--markdown")
    parser.add_argument("--chart")
    parser.add_argument("--widths", nargs="*", default=[], metavar="BITS=FILE",
                        help="rows of `cargo bench --bench workloads -- --json --limits --vectors BITS`, the widest last")
    parser.add_argument("--more", nargs="*", default=[], metavar="FILE", help="Markdown to put in as it is")
    args = parser.parse_args()
    files = [(int(bits), path) for bits, path in (w.split("=", 1) for w in args.widths)]
    with open(args.results) as f:
        rows = [json.loads(text) for text in f]
    for path, text in ((args.markdown, markdown(rows, files, args.more)), (args.chart, chart(rows))):
        if path:
            with open(path, "w") as f:
                f.write(text)


if __name__ == "__main__":
    main()
