"""What a picture of a model shows: boxes, arrows, blocks, and groups of tied parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from tiedgraph.ir.graph import Graph, Node
from tiedgraph.ops import BY_NAME

ASKED = ("likelihood", "word_scores")  # ops of a chain, given its scores and its log odds
BADGES = 8  # letters that a unit's box has at most


@dataclass
class Box:
    """One layer with the functions behind it, one other operation, or data.

    badges: letters of the tie groups that its parameters belong to.
    """

    id: str
    kind: str  # input | target | layer | function | loss | metric
    title: str
    lines: list[str]
    frame: str = ""
    badges: list[str] = field(default_factory=list)
    output: bool = False


@dataclass(frozen=True)
class Group:
    """Parameters that read the same numbers, or one that reads its own through an index map.

    soft: parameters that are drawn from one mixture, whose name is the owner's; `told` says how.
    state: lines of text about how training left it.
    """

    letter: str
    owner: str
    members: tuple[str, ...]
    saved: int
    soft: bool = False
    told: str = ""
    state: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """boxes in the order of the file; arrows from box to box; frames: the blocks, by path."""

    name: str
    boxes: dict[str, Box]
    arrows: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]


def picture(graph: Graph, states: Mapping[str, str] | None = None) -> Picture:
    """The picture of a checked graph.

    states: text to tell with each soft tie, such as its components.
    """
    groups = _groups(graph, states)
    letters: dict[str, list[str]] = {}
    for group in groups:
        for member in group.members:
            letters.setdefault(member, []).append(group.letter)
    boxes: dict[str, Box] = {}
    home: dict[str, str] = {}  # value -> box
    for name, item in graph.data.items():
        if item.role in ("input", "target"):
            boxes[name] = Box(name, item.role, name, [str(item.type)])
            home[name] = name
    readers = Counter(v for node in graph.nodes.values() for v in node.inputs)
    outputs = {term.value for term in graph.outputs}
    units = _units(graph)
    for node in graph.nodes.values():
        whole = _home_of(node, units)
        if whole is not None:
            box = boxes.setdefault(whole.id, whole)
            box.badges += [a for p in node.params for a in letters.get(p, [])]
            box.badges = list(dict.fromkeys(box.badges))[:BADGES]
            home.update(dict.fromkeys(node.outputs, whole.id))
            continue
        given = [v for v in node.inputs if not v.startswith("$")]
        before = boxes.get(home.get(given[0], "")) if given else None
        folds = (
            before is not None
            and BY_NAME[node.op].pointwise is not None
            and before.kind in ("layer", "function")
            and readers[given[0]] == 1
            and given[0] not in outputs
        )
        if folds and before is not None:
            before.lines[0] += f" |> {node.op}"
            box = before
            box.title = _title(node, box.title)
        else:
            box = _box(graph, node)
            boxes[box.id] = box
            box.badges += [a for p in node.params for a in letters.get(p, []) if p]
            box.badges = list(dict.fromkeys(box.badges))
        for value in node.outputs:
            home[value] = box.id
            box.output = box.output or value in outputs
    arrows = []
    asked = {
        (c.scores, c.odds): f"chain {c.name}" for c in graph.chains.values() if c.name in units
    }
    for node in graph.nodes.values():
        target = home[node.outputs[0]]
        through = asked.get((node.inputs[0], node.inputs[1])) if node.op in ASKED else None
        if through is not None:
            boxes.setdefault(through, units[through.removeprefix("chain ")])
            sources = [home.get(value, "") for value in node.inputs[:2]]
            arrows += [(source, through) for source in sources if source not in ("", through)]
            arrows.append((through, target))
        for value in node.inputs[2 if through is not None else 0 :]:
            source = home.get(value)
            if source is not None and source != target:
                arrows.append((source, target))
    return Picture(graph.name, boxes, tuple(dict.fromkeys(arrows)), tuple(groups))


def _units(graph: Graph) -> dict[str, Box]:
    """A box for each unit and each chain of word models, by path."""
    found: dict[str, Box] = {}
    for chain in graph.chains.values():
        members = {chain.unit: (len(chain.phonemes), chain.states)}
        if chain.ends_name:
            members[chain.ends_name] = (0, chain.ends)
        for path, (phonemes, states) in members.items():
            lines = [f"{states} state{'s' * (states > 1)}"]
            if phonemes:
                lines = [f"{phonemes} phonemes of {lines[0]}"]
            names = graph.instances[path].params
            numbers = sum(prod(graph.params[name].shape) for name in names)
            lines.append(f"{numbers:,} number{'s' * (numbers > 1)}")
            found[path] = Box(f"unit {path}", "layer", f"unit {path}", lines)
        words = [f"{len(chain.lexicon.words):,} words"]
        if len(chain.lexicon.pronunciations) > len(chain.lexicon.words):
            words.append(f"{len(chain.lexicon.pronunciations):,} pronunciations")
        found[chain.name] = Box(f"chain {chain.name}", "function", f"chain {chain.name}", words)
    return found


def _home_of(node: Node, units: Mapping[str, Box]) -> Box | None:
    """The unit or chain that a node is part of."""
    whole = units.get(node.instance.partition("[")[0].removesuffix(".state"))
    if whole is None and node.op == "concat":
        whole = units.get(node.id.rpartition(".")[0].rpartition(".")[0])
    return whole if node.instance or node.op == "concat" else None


def _title(node: Node, before: str) -> str:
    """The name in the file where the value has one."""
    value = node.outputs[0]
    return before if value.endswith(f".{node.op}") else value


def _box(graph: Graph, node: Node) -> Box:
    value = node.outputs[0]
    kind = {"loss": "loss", "metric": "metric"}.get(
        node.role, "layer" if node.params else "function"
    )
    title = node.instance or _title(node, value.rpartition(".")[0] or value)
    if kind in ("loss", "metric"):
        title = f"{kind} {node.op.removesuffix('_metric')}"
    lines = [str(graph.type_of(value))]
    if kind not in ("loss", "metric"):
        lines.insert(0, _call(node))
    numbers = sum(prod(graph.params[p].shape) for p in node.params)
    if numbers:
        lines.append(f"{numbers:,} numbers")
    path = node.instance or value
    return Box(node.id, kind, title, lines, path.rpartition(".")[0] if "." in path else "")


def _call(node: Node) -> str:
    """The operation with the settings that tell most."""
    told = []
    for name in ("channels", "units", "window", "stride", "r", "rate"):
        value = getattr(node.attrs, name, None)
        if value is None or (name == "stride" and set(value) == {1}):
            continue
        if isinstance(value, tuple):
            value = value[0] if len(set(value)) == 1 else "x".join(map(str, value))
        told.append(str(value) if name in ("channels", "units", "r", "rate") else f"{name} {value}")
    return " ".join([node.op.removesuffix("_metric"), ", ".join(told)]).strip()


def _groups(graph: Graph, states: Mapping[str, str] | None) -> list[Group]:
    """Storages with several readers, or with fewer numbers than their reader."""
    readers: dict[str, list[str]] = {}
    for param in graph.params.values():
        readers.setdefault(param.view.storage, []).append(param.id)
    found: dict[tuple[str, ...], Group] = {}
    for owner, members in readers.items():
        declared = sum(prod(graph.params[p].shape) for p in members)
        free = prod(graph.storages[owner].shape)
        if len(members) > 1 or declared != free:
            group = Group(_letter(len(found)), owner, tuple(members), declared - free)
            found[tuple(members)] = group
    groups = list(found.values())
    for mixture in graph.mixtures.values():
        drawn = {name for name, _ in mixture.numbers}
        own = tuple(p.id for p in graph.params.values() if p.view.storage in drawn)
        count = mixture.settings.components
        from_what = "one Gaussian" if count == 1 else f"{count} Gaussians"
        told = f"{mixture.count:,} numbers from {from_what}"
        state = tuple((states or {}).get(mixture.id, "").splitlines())
        groups.append(Group(_letter(len(groups)), mixture.id, own, 0, True, told, state))
    return groups


def _letter(index: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    again = index // 26
    return chr(65 + index % 26) + (str(again + 1) if again else "")
