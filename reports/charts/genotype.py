"""Genotypes as graphs: two inputs, nodes, an output; operations stand on the edges, and say their rule by word, colour and dash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports.charts.chart import identifier, link
from reports.charts.style import BACKGROUND, INK, MUTED, rule_dash, shade
from reports.numbers.names import spell

WIDTH, TOP, ROW = 348, 18, 78
SPINE = WIDTH / 2  # where the nodes are
BOX, TALL, DROP = 112, 22, 34  # an operation's width and height, and how far above its node it stands
SIDES = (18 + BOX / 2, WIDTH - 18 - BOX / 2)  # the middles of the two operations of a node
NAMES = {"normal": "normal cell", "reduce": "reduction cell"}


def genotype(cells: Mapping[str, list[list[Any]]], title: str) -> Markup:
    """Draw both cells. What reads an input stands on the side of that input, where both operations do not read the same one."""
    rows = [
        {"cell": kind, "node": i // 2, "from": _state(int(source)), "operation": op.partition(":")[0], "rule": op.partition(":")[2]}
        for kind in NAMES
        for i, (op, source) in enumerate(cells[kind])
    ]
    panels = Markup("").join(
        Markup('<div class="panel" style="width: {}px"><p class="panel-title">{}</p><div class="static">{}</div></div>').format(
            WIDTH, words, _cell(cells[kind], f"{title}, {words}")
        )
        for kind, words in NAMES.items()
    )
    foot = Markup('<p class="chart-foot">{}</p>').format(link(title, rows))
    return Markup('<div class="chart genotype" id="{}"><div class="panels">{}</div>{}</div>').format(identifier(title), panels, foot)


def _state(source: int) -> str:
    return f"input {source}" if source < 2 else f"node {source - 2}"


def _cell(genes: Sequence[Sequence[Any]], title: str) -> Markup:
    nodes = len(genes) // 2
    height = TOP + ROW * nodes + 62
    parts: list[Markup] = []
    boxes: list[Markup] = []
    passing = {-1: 0, 1: 0, -2: 0, 2: 0}  # lines that pass by, outside of the operations and beside the nodes, on each side
    for node in range(nodes):
        for side, (op, source) in zip((-1, 1), _sides(genes[2 * node : 2 * node + 2]), strict=False):
            edge, box = _operation(node, int(source), side, str(op), passing)
            parts.append(edge)
            boxes.append(box)
    states = [_pill(x, TOP, f"input {i}") for i, x in enumerate((SPINE - 52, SPINE + 52))]
    bottom = height - 18
    if nodes:
        out = Markup('<path d="M{0:g},{1:g}V{2:g}" stroke="{3}" stroke-width="1.2" stroke-dasharray="1.5 3"/>').format(
            SPINE, _y(0), bottom, MUTED
        )
        parts.insert(0, out)
    states += [_pill(SPINE, _y(node), f"node {node}") for node in range(nodes)]
    states.append(_pill(SPINE, bottom, "output: all nodes", 108))
    words = "; ".join(f"node {n // 2} takes {_spoken(str(op))} of {_state(int(source))}" for n, (op, source) in enumerate(genes))
    return Markup('<svg role="img" aria-label="{}: {}" viewBox="0 0 {} {}" width="{}" height="{}" fill="none">{}</svg>').format(
        title, words, WIDTH, height, WIDTH, height, Markup("").join([*parts, *boxes, *states])
    )


def _y(node: int) -> float:
    return TOP + ROW * (node + 1)


def _sides(genes: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Return the gene that stands left and the one that stands right: what reads input 0 left, input 1 right."""
    ordered = sorted(genes, key=lambda gene: int(gene[1]))
    turned = len(ordered) == 2 and (ordered[0][1] == 1 or (ordered[0][1] > 1 and ordered[1][1] == 0))
    return ordered[::-1] if turned else ordered


def _operation(node: int, source: int, side: int, op: str, passing: dict[int, int]) -> tuple[Markup, Markup]:
    """Return the edge of one operation, from the state that it reads through its box to its node, and the box."""
    rule = op.partition(":")[2]
    colour = shade(rule) if rule else MUTED
    dash = " ".join(map(str, rule_dash(rule))) if rule else "1 0"
    x, y, end = SIDES[side > 0], _y(node) - DROP, _y(node)
    into = f"M{x:g},{y + TALL / 2:g}C{x:g},{end - 4:g} {SPINE + side * 60:g},{end:g} {SPINE + side * 29:g},{end:g}"
    head = f"M{SPINE + side * 34:g},{end - 4:g}L{SPINE + side * 28:g},{end:g}L{SPINE + side * 34:g},{end + 4:g}"
    hover = Markup("<title>{}, from {} to node {}</title>").format(_spoken(op), _state(source), node)
    lines = (_way(node, source, side, passing), into)
    paths = [Markup('<path d="{}" stroke-dasharray="{}"/>').format(line, dash) for line in lines]
    edge = Markup('<g class="edge" stroke="{}" stroke-width="1.6">{}{}<path d="{}"/></g>').format(
        colour, hover, Markup("").join(paths), head
    )
    place = Markup('x="{:g}" y="{:g}" width="{}" height="{}" rx="5"').format(x - BOX / 2, y - TALL / 2, BOX, TALL)
    look = Markup('fill="{}" fill-opacity="0.14" stroke="{}" stroke-width="1.4" stroke-dasharray="{}"').format(colour, colour, dash)
    text = Markup('<text x="{:g}" y="{:g}" text-anchor="middle" font-size="11" fill="{}">{}{}</text>').format(
        x, y + 4, INK, _short(op), Markup(' <tspan font-weight="650">{}</tspan>').format(spell(rule)) if rule else ""
    )
    box = Markup('<g class="operation">{}<rect {} fill="{}"/><rect {} {}/>{}</g>').format(hover, place, BACKGROUND, place, look, text)
    return edge, box


def _way(node: int, source: int, side: int, passing: dict[int, int]) -> str:
    """Return the line from a state to an operation's box: straight down to the next, else by a lane outside of the boxes or inside."""
    x, y = SIDES[side > 0], _y(node) - DROP
    top = y - TALL / 2
    if source < 2:
        start = SPINE + (-52, 52)[source]
        if node == 0:
            return f"M{start:g},{TOP + 9:g}C{start:g},{top - 10:g} {x:g},{TOP + 9:g} {x:g},{top:g}"
        passing[side] += 1
        lane = SPINE + side * (SPINE - 14 + 4 * (passing[side] % 3))
        down = f"{lane:g},{TOP + 40:g}V{y - 12:g}Q{lane:g},{y:g} {x + side * BOX / 2:g},{y:g}"
        if (source == 1) == (side > 0):
            return f"M{start + side * 26:g},{TOP:g}C{lane:g},{TOP:g} {lane:g},{TOP + 10:g} {down}"
        return f"M{start:g},{TOP - 9:g}C{start:g},0 {lane:g},-4 {down}"  # above the other input
    start, inner = _y(source - 2), x - side * BOX / 2
    if source - 2 == node - 1:
        return f"M{SPINE + side * 10:g},{start + 9:g}C{SPINE + side * 14:g},{top - 2:g} {x:g},{start + 12:g} {x:g},{top:g}"
    lane = SPINE + side * (31 + 4 * (passing[2 * side] % 3))
    passing[2 * side] += 1
    return f"M{SPINE + side * 27:g},{start:g}Q{lane:g},{start:g} {lane:g},{start + 14:g}V{y - 10:g}Q{lane:g},{y:g} {inner:g},{y:g}"


def _pill(x: float, y: float, words: str, width: float = 54) -> Markup:
    return Markup(
        '<g><rect x="{:g}" y="{:g}" width="{:g}" height="18" rx="9" fill="{}" stroke="{}"/>'
        '<text x="{:g}" y="{:g}" text-anchor="middle" font-size="11" fill="{}">{}</text></g>'
    ).format(x - width / 2, y - 9, width, BACKGROUND, MUTED, x, y + 4, INK, words)


def _short(op: str) -> str:
    operation = op.partition(":")[0]
    return operation.replace("_", " ").replace(" 3x3", " 3×3").replace(" 5x5", " 5×5").replace(" connect", "").replace(" conv", "")


def _spoken(op: str) -> str:
    operation, _, rule = op.partition(":")
    words = operation.replace("_", " ").replace("3x3", "3×3").replace("5x5", "5×5")
    return f"{words} by {spell(rule)}" if rule else f"{words} (no weights)"
