"""How parameters start when neither their layer nor the file says so."""

from __future__ import annotations

from dataclasses import replace

from tiedgraph.ir.graph import Graph, Init
from tiedgraph.ops import BY_NAME

DEFAULT = "default"
# He et al. 2015: functions that let half of their inputs through.
RECTIFIERS = frozenset(("relu", "gelu"))


def choose_inits(graph: Graph) -> Graph:
    """Glorot uniform, or He normal where what follows the layer is a rectifier.

    What follows is looked for through sums, normalisation, pooling and reshaping, up to the first
    function of one number or the next layer that starts at random itself.
    """
    if not any(param.init.name == DEFAULT for param in graph.params.values()):
        return graph
    readers: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        for value in node.inputs:
            readers.setdefault(value, []).append(name)
    # From the last node to the first, so that what follows each node is known already.
    rectified: set[str] = set()  # values that a rectifier reads, directly or not
    for node in reversed(list(graph.nodes.values())):
        op = BY_NAME[node.op]
        starts = any(graph.params[param].init.name == DEFAULT for param in node.params)
        if node.op in RECTIFIERS:
            rectified.update(node.inputs)
            continue
        passes_on = op.pointwise is None and not starts and op.category not in ("loss", "metric")
        if passes_on and rectified.intersection(node.outputs):
            rectified.update(node.inputs)
    params = dict(graph.params)
    for node in graph.nodes.values():
        he = bool(rectified.intersection(node.outputs))
        for name in node.params:
            if params[name].init.name == DEFAULT:
                init = Init("he_normal" if he else "glorot_uniform")
                params[name] = replace(params[name], init=init)
    return graph.replace(params=params)
