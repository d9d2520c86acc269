"""Types of all values, the parameters of all layers, and the data that the runtime makes.

Nodes stand in the order of the file, which is an order of dataflow: one walk settles everything.
What an op says is wrong (`OpError`) becomes a diagnostic that underlines the argument at fault and
shows every input's type and where that input was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tiedgraph.diagnostics import Diagnostics, Span
from tiedgraph.ir.graph import (
    DataInput,
    Graph,
    Instance,
    Node,
    Param,
    Storage,
    Term,
    Value,
    View,
    implicit_id,
)
from tiedgraph.ir.types import Extent, Type, elements
from tiedgraph.ops import BY_NAME
from tiedgraph.ops.rules import Implicit, Op, OpError, ParamSpec
from tiedgraph.passes import limits
from tiedgraph.passes.arguments import signature
from tiedgraph.passes.initial import choose_inits
from tiedgraph.passes.reach import check_outputs, tied_names, warn_unreached
from tiedgraph.passes.select import apply_overrides, resolve_selectors

# For what an op refuses without a hint of its own.
HINTS = {
    "E0301": "reshape, slice or transpose the input, or change the layer that makes it",
    "E0302": "use another input, or another function",
    "E0304": "reduce over the run-time size first, with mean or max",
}


def infer_shapes(graph: Graph, diagnostics: Diagnostics) -> Graph:
    """The graph with types, parameters, one storage for each, and ties by exact path.

    Reports what an op refuses and goes on with the rest; nodes behind an error have no type.
    """
    walk = _Walk(graph, diagnostics)
    for node in graph.nodes.values():
        walk.node(node)
    graph = walk.graph()
    for term in graph.losses:
        _scalar(graph, term, True, diagnostics)
    for term in graph.metrics:
        _scalar(graph, term, False, diagnostics)
    graph = choose_inits(graph)
    graph = apply_overrides(graph, diagnostics)
    graph = resolve_selectors(graph, diagnostics)
    check_outputs(graph, diagnostics)
    if not diagnostics.errors:
        warn_unreached(graph, graph.params.keys() - tied_names(graph), diagnostics)
    storages = {
        param.id: Storage(
            param.id, param.shape, param.init, param.trainable, param.fans, param.span
        )
        for param in graph.params.values()
    }
    return graph.replace(storages=storages)


class _Walk:
    """One walk over the nodes; collects what the new graph is made of."""

    def __init__(self, graph: Graph, diagnostics: Diagnostics) -> None:
        self.start = graph
        self.diagnostics = diagnostics
        self.data = dict(graph.data)
        self.values = dict(graph.values)
        self.nodes: dict[str, Node] = {}
        self.params: dict[str, Param] = {}
        self.instances = dict(graph.instances)
        self.total = 0

    def graph(self) -> Graph:
        self._collect()
        return self.start.replace(
            data=self.data,
            values=self.values,
            nodes=self.nodes,
            params=self.params,
            instances=self.instances,
        )

    # ------------------------------------------------------------ one node

    def node(self, node: Node) -> None:
        self.nodes[node.id] = node
        found = [self.values[name].type for name in node.inputs]
        types = [kind for kind in found if kind is not None]
        op = BY_NAME[node.op]
        if len(types) < len(found) or not self._kinds(node, op, types):
            self._unknown(node)
            return
        try:
            attrs = op.settle(node.attrs, types) if op.settle is not None else node.attrs
            output = op.shape(attrs, types)
            specs = op.params(attrs, types) if op.params is not None and node.instance else ()
            implicit = op.implicit(attrs, types) if op.implicit is not None else ()
        except OpError as error:
            self._report(node, types, error)
            self._unknown(node)
            return
        if not self._fits(output, f"the output of {node.op}", node.span):
            self._unknown(node)
            return
        params = tuple(self._param(node, spec) for spec in specs)
        inputs = (*node.inputs, *(name for item in implicit for name in self._implicit(node, item)))
        self.nodes[node.id] = replace(node, attrs=attrs, inputs=inputs, params=params)
        for name in node.outputs:
            self.values[name] = replace(self.values[name], type=output)

    def _unknown(self, node: Node) -> None:
        """Nothing is known about this node's parameters, so nothing is said about them."""
        if node.instance:
            instance = self.instances[node.instance]
            self.instances[node.instance] = Instance(instance.path, "?", span=instance.span)

    def _kinds(self, node: Node, op: Op, types: Sequence[Type]) -> bool:
        """Whether each input is of a kind that the op takes."""
        for i, kind in enumerate(types):
            accepted = op.kinds[min(i, len(op.kinds) - 1)] if op.kinds else ("float",)
            if kind.kind not in accepted:
                name = op.inputs[min(i, len(op.inputs) - 1)].rstrip("*")
                hint = ""
                if kind.kind == "index":
                    hint = "embedding(x, size) turns indices into numbers"
                elif kind.kind == "class":
                    hint = "labels belong into losses and metrics"
                self._report(
                    node,
                    types,
                    OpError(
                        "E0302",
                        f"'{name}' of {op.spelling or op.name} must be {' or '.join(accepted)}, "
                        f"but this is {kind}",
                        hint=hint,
                        argument=i,
                    ),
                )
                return False
        return True

    def _report(self, node: Node, types: Sequence[Type], error: OpError) -> None:
        places = dict(node.places)
        span = places.get(error.argument, node.span) if error.argument is not None else node.span
        others = []
        for name, kind in zip(node.inputs, types, strict=True):
            value = self.values[name]
            if value.span is not None and value.span != span:
                others.append((value.span, f"{_shown(value)} is {kind}"))
        others = list(dict.fromkeys(others))
        # Several values of one place were made by what stands there, such as a chain.
        places_of = [span for span, _ in others]
        others = [item for item in others if places_of.count(item[0]) == 1]
        self.diagnostics.error(
            error.code,
            error.message,
            span,
            others=others,
            hint=error.hint or HINTS.get(error.code, f"write {signature(BY_NAME[node.op])}"),
        )

    def _fits(self, kind: Type, what: str, span: Span | None) -> bool:
        """Whether one sample's numbers stay below the limit."""
        count = elements(size for size in kind.shape if isinstance(size, int))
        if count <= limits.ELEMENTS:
            return True
        self.diagnostics.error(
            "E0501",
            f"{what} is {kind}: {count} numbers in one sample",
            span,
            label="too large",
            hint=f"the limit of one value or parameter is {limits.ELEMENTS} numbers",
        )
        return False

    # ------------------------------------------------------------ parameters

    def _param(self, node: Node, spec: ParamSpec) -> str:
        instance = spec.instance or node.instance
        name = f"{instance}.{spec.name}"
        same = self.instances.get(name) or self.values.get(name)
        if same is not None:
            self.diagnostics.error(
                "E0202",
                f"'{name}' would be a parameter and a value of the block",
                same.span,
                others=[(node.span, f"has the parameter '{spec.name}'")],
                hint="give the value another name",
            )
        kind = Type("float", spec.shape)
        before = self.total
        if self._fits(kind, f"the parameter '{name}'", node.span):
            self.total += elements(spec.shape)
        if before <= limits.PARAMETERS < self.total:
            self.diagnostics.error(
                "E0501",
                f"with '{name}' the model has {self.total} parameters",
                node.span,
                label="too many",
                hint=f"the limit of a model is {limits.PARAMETERS} parameters",
            )
        self.params[name] = Param(
            name,
            instance,
            spec.name,
            spec.shape,
            View(name),
            spec.init,
            spec.trainable,
            spec.fans,
            node.span,
        )
        return name

    def _collect(self) -> None:
        """An instance holds the parameters of everything inside."""
        inside: dict[str, list[str]] = {}
        for param in self.params.values():
            for path in _ancestors(param.instance):
                inside.setdefault(path, []).append(param.id)
        for path, instance in self.instances.items():
            if instance.op != "?":
                names = inside.get(instance.part or path, ())
                self.instances[path] = replace(instance, params=tuple(names))

    # ------------------------------------------------------------ implicit data

    def _implicit(self, node: Node, item: Implicit) -> list[str]:
        """Ids of the data inputs that an op asks for; the same data has one id."""
        if item.role == "lengths":
            parts: list[tuple[Extent, ...]] = [(extent,) for extent in item.extents]
        else:
            parts = [item.extents]
        names = []
        for extents in parts:
            name = implicit_id(item.role, extents, node.id if item.role == "key" else "")
            kind = Type("float", ())
            self.data.setdefault(name, DataInput(name, item.role, kind, extents, span=node.span))
            self.values.setdefault(name, Value(name, kind, "", node.span))
            names.append(name)
        return names


def _ancestors(path: str) -> list[str]:
    """`a.b[0].c` -> a, a.b, a.b[0], a.b[0].c: all instances that hold what lies at a path."""
    ends = [i for i, letter in enumerate(path) if letter in ".["] + [len(path)]
    return [path[:end] for end in ends]


def _shown(value: Value) -> str:
    """A value in a message: its name, or what it is for one without."""
    last = value.id.rpartition(".")[2]
    return "this" if value.id == value.producer else f"'{value.id}'" if last else value.id


def _scalar(graph: Graph, term: Term, loss: bool, diagnostics: Diagnostics) -> None:
    """A loss, and a metric that is no op of its own, is one number a sample."""
    value = graph.values[term.value]
    producer = graph.nodes.get(value.producer)
    if value.type is None or (producer and BY_NAME[producer.op].category == "metric" and not loss):
        return
    if value.type.kind != "float" or value.type.shape != ():
        diagnostics.error(
            "E0301",
            f"a {'loss' if loss else 'metric'} is one number a sample, but this is {value.type}",
            term.span,
            label="not a single number",
            others=[(value.span, f"this is {value.type}")] if value.span != term.span else [],
            hint="take its mean: mean(...)",
        )
