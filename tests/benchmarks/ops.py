"""Every op in both directions on one tile and one thread, beside the roofline of this machine.

The roofline is that of `tiedgraph.measure`: the peak of multiply-adds, and the bandwidth of a near
cache. A function such as tanh counts as the operations that it is computed from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

TITLE = "Ops beside their roofline"
LEAST = 1 / 3
FRAME = """
input x: {type}
{more}
h = concat({layer})
y = {op}
output made = y
loss {loss}
train {{ optimizer = sgd(rate=0.1) }}
"""


class Use(NamedTuple):
    """One use of an op: the type of its input h, the expression, and what stands around it."""

    type: str
    text: str
    more: str = ""
    loss: str = "mean(square(y))"
    layer: str = "scale(x)"


FUNCTIONS = (
    "tanh sigmoid relu gelu softplus exp abs square softmax log_softmax normalize layer_norm"
)
WIDE, LINE, IMAGE = "float[32, 32]", "float[40, 32]", "float[8, 16, 16]"
USES: dict[str, Use] = {
    "dense": Use("float[400]", "dense(h, 120)"),
    "conv1d": Use(LINE, "conv1d(h, 40, window=5)"),
    "conv2d": Use(IMAGE, "conv2d(h, 16, window=5)"),
    **{cell: Use(LINE, f"{cell}(h, 64)") for cell in ("rnn", "gru", "lstm")},
    **{name: Use(WIDE, f"{name}(h)") for name in FUNCTIONS.split()},
    **{name: Use(WIDE, f"{name}(concat(square(h) + 0.5))") for name in ("log", "sqrt")},
    "negate": Use(WIDE, "-h"),
    "add_number": Use(WIDE, "h + 2"),
    "multiply_number": Use(WIDE, "3 * h"),
    "divide_number": Use(WIDE, "1 / (square(h) + 0.5)"),
    "add": Use(WIDE, "h + flip(h, 0)"),
    "subtract": Use(WIDE, "h - flip(h, 0)"),
    "multiply": Use(WIDE, "h * flip(h, 0)"),
    "divide": Use(WIDE, "h / (square(h) + 0.5)"),
    "cross_entropy": Use(WIDE, "h", "target t: class[32, 32]", "cross_entropy(y, t)"),
    "ctc": Use(LINE, "h", "target t: class[39, 8]", "ctc(y, t)"),
    "mse": Use(WIDE, "h", f"target t: {WIDE}", "mse(y, t)"),
    "mae": Use(WIDE, "h", f"target t: {WIDE}", "mae(y, t)"),
    "huber": Use(WIDE, "h", f"target t: {WIDE}", "huber(y, t)"),
    "binary_cross_entropy": Use(
        WIDE, "h", "target t: class[2, 32, 32]", "binary_cross_entropy(y, t)"
    ),
    "gaussian_nll": Use(WIDE, "h", f"target t: {WIDE}", "gaussian_nll(y, flip(h, 0), t)"),
    "contrastive": Use("float[64]", "h", "target t: class[2]", "contrastive(y, flip(h, 0), t)"),
    "triplet": Use("float[64]", "h", "g = flip(scale(x), 0)", "triplet(y, g, flip(h, 0))"),
    "subsample": Use(IMAGE, "subsample(h, 2)"),
    "max_pool": Use(IMAGE, "max_pool(h, 2)"),
    **{name: Use(LINE, f"{name}(h, over=1)") for name in ("sum", "mean", "max")},
    "dot": Use("float[256]", "dot(h, flip(h, 0))"),
    "distance": Use("float[256]", "distance(h, flip(h, 0))"),
    "transpose": Use(WIDE, "transpose(h)"),
    "flip": Use(WIDE, "flip(h, 0)"),
    "concat": Use(WIDE, "concat(h, flip(h, 0))"),
    "slice": Use(WIDE, "slice(h, 4, 28)"),
    "scale": Use(WIDE, "scale(h)"),
    "batch_norm": Use(IMAGE, "batch_norm(h)"),
    "dropout": Use(WIDE, "dropout(h, 0.4)"),
    "embedding": Use("index[64, 32]", "embedding(x, 32)", layer="embedding(x, 1)"),
    "gaussian": Use(LINE, "gaussian(h, mixtures=2)"),
}


def report_all(rounds: int) -> None:
    """Prints the least of some runs of each op; rounds: how many."""
    from tiedgraph.measure import Machine, measure_machine

    machines = [measure_machine("float32") for _ in range(rounds)]
    machine = Machine(
        *(max(getattr(m, part) for m in machines) for part in ("flops", "near", "far"))
    )
    print(
        f"\n{TITLE}: {machine.flops / 1e9:.0f} GFLOP/s, {machine.near / 1e9:.0f} GB/s, one thread"
    )
    print("| | us | GFLOP/s | GB/s | of its roofline | |\n| --- | --- | --- | --- | --- | --- |")
    for name, use in USES.items():
        for way, (seconds, flops, moved) in least(name, use, max(2, rounds // 5)).items():
            ideal = max(flops / machine.flops, moved / machine.near)
            part = ideal / seconds
            print(
                f"| {name}{way} | {1e6 * seconds:.1f} | {flops / seconds / 1e9:.1f} "
                f"| {moved / seconds / 1e9:.0f} | {part:.0%} | {'slow' if part < LEAST else ''} |",
                flush=True,
            )


def least(name: str, use: Use, rounds: int) -> dict[str, tuple[float, int, int]]:
    """For each direction the least seconds, operations and bytes of the op's node."""
    import tiedgraph as tg
    from tiedgraph import measure

    fields: dict[str, Any] = {**use._asdict(), "op": use.text}
    model = tg.compile_text(FRAME.format(**fields), batch=32, threads=1)
    meant = "loss" if use.text == "h" or name == "triplet" else "y"
    found: dict[str, tuple[float, int, int]] = {}
    for _ in range(rounds):
        seen: dict[str, tuple[float, int, int]] = {}
        for node in measure.node_speeds(model, 32):
            place = node.node.removeprefix("d(").split(".")[0]
            if node.op.split("+")[0] == name and place == meant:
                way = ", backwards" if node.node.startswith("d(") else ""
                seen[way] = (node.seconds, node.flops, node.bytes)
        for way, told in seen.items():
            found[way] = min(told, found.get(way, told))
    return found
