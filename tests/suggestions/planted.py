"""Random networks with ties planted in their numbers, and what should be found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import tiedgraph as tg
from tiedgraph.model import Model
from tiedgraph.suggestions import Suggestions, suggest
from tiedgraph.suggestions.trial import Trial

HEAD = "model planted\ninput x: float[12]\ninput z: float[3, 8, 8]\n"


@dataclass(frozen=True)
class Plant:
    """One tie: its layers beside the others, how to plant it, and how its statement begins."""

    name: str
    layers: str
    make: Callable[[dict[str, np.ndarray], np.random.Generator], None]
    statement: str


def _set(target: str, source: str, change: Callable[[np.ndarray], np.ndarray]):
    def make(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
        p[target] = np.ascontiguousarray(change(p[source]))

    return make


def _values(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    values = np.array([-0.9, -0.3, 0.2, 0.8])
    shape = p["a.weight"].shape
    p["a.weight"] = rng.permutation(np.resize(values, np.prod(shape))).reshape(shape)


def _spread(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    """As after soft tying: most are nearly zero, the others lie about four values."""
    shape = p["a.weight"].shape
    value = rng.choice([0.0, -0.9, -0.3, 0.3, 0.9], shape, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    p["a.weight"] = value + 0.012 * rng.standard_normal(shape)


def _rows(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    p["a.weight"][[3, 7]] = p["a.weight"][1]


def _columns(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    p["a.weight"][:, 5] = p["a.weight"][:, 2]


def _both(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    p["a.weight"][4] = p["a.weight"][0]
    p["a.weight"][:, 5] = p["a.weight"][:, 2]


def _across(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    p["b.weight"][[0, 2]] = p["a.weight"][[5, 1]]


def _permuted(p: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    p["b.weight"] = p["a.weight"][rng.permutation(len(p["a.weight"]))]


def _circulant(w: np.ndarray) -> np.ndarray:
    i, j = np.indices(w.shape[:2])
    return w[(i - j) % len(w), 0]


def _toeplitz(w: np.ndarray) -> np.ndarray:
    i, j = np.indices(w.shape)
    line = np.concatenate([w[::-1, 0], w[0, 1:]])
    return line[i - j + w.shape[1] - 1]


def _blocks(w: np.ndarray) -> np.ndarray:
    i, j = np.indices(w.shape)
    return np.where(i * 4 // len(w) == j * 4 // w.shape[1], w, 0.0)


TWO = "a = dense(x, 12)\nb = dense(x, 12)"
OBLONG = "a = dense(x, 10)\nb = dense(a, 12)"
CONV = "a = conv2d(z, 6, window=3)\nb = conv2d(z, 6, window=3)"
PLANTS = (
    Plant("equal", TWO, _set("b.weight", "a.weight", np.copy), "tie hard a.weight, b.weight"),
    Plant("bias", TWO, _set("b.bias", "a.bias", np.copy), "tie hard a.bias, b.bias"),
    Plant("transpose", OBLONG, _set("b.weight", "a.weight", np.transpose),
          "tie hard b.weight = transpose(a.weight)"),
    Plant("flip rows", TWO, _set("b.weight", "a.weight", np.flipud),
          "tie hard b.weight = flip(a.weight, axis=0)"),
    Plant("flip columns", TWO, _set("b.weight", "a.weight", np.fliplr),
          "tie hard b.weight = flip(a.weight, axis=1)"),
    Plant("flip window", CONV, _set("b.weight", "a.weight", lambda w: w[..., ::-1]),
          "tie hard b.weight = flip(a.weight, axis=3)"),
    Plant("rotate", CONV, _set("b.weight", "a.weight", lambda w: np.rot90(w, 1, (-2, -1))),
          "tie hard b.weight = rotate90(a.weight)"),
    Plant("rotate thrice", CONV, _set("b.weight", "a.weight", lambda w: np.rot90(w, 3, (-2, -1))),
          "tie hard b.weight = rotate90(a.weight, k=3)"),
    Plant("permute", "a = conv2d(z, 6, window=3)\nb = conv2d(a, 3, window=3)",
          _set("b.weight", "a.weight", lambda w: w.transpose(1, 0, 2, 3)),
          "tie hard b.weight = permute(a.weight, axes=[1, 0, 2, 3])"),
    Plant("negate", TWO, _set("b.weight", "a.weight", np.negative),
          "tie hard b.weight = negate(a.weight)"),
    Plant("scale", TWO, _set("b.weight", "a.weight", lambda w: -2.5 * w),
          "tie hard b.weight = scale(a.weight, factor=-2.5"),
    Plant("transposed and negated", OBLONG, _set("b.weight", "a.weight", lambda w: -w.T),
          "tie hard b.weight = negate(transpose(a.weight))"),
    Plant("symmetric", TWO, _set("a.weight", "a.weight", lambda w: w + w.T),
          "tie hard a.weight by symmetric"),
    Plant("antisymmetric", TWO, _set("a.weight", "a.weight", lambda w: w - w.T),
          "tie hard a.weight by antisymmetric"),
    Plant("circulant", TWO, _set("a.weight", "a.weight", _circulant),
          "tie hard a.weight by circulant"),
    Plant("toeplitz", OBLONG, _set("a.weight", "a.weight", _toeplitz),
          "tie hard a.weight by toeplitz"),
    Plant("block_diagonal", TWO, _set("a.weight", "a.weight", _blocks),
          "tie hard a.weight by block_diagonal(blocks=4)"),
    Plant("mirrored windows", CONV, _set("a.weight", "a.weight", lambda w: w + w[..., ::-1]),
          'tie hard a.weight by map("'),
    Plant("rows", TWO, _rows, 'tie hard a.weight by map("'),
    Plant("columns", TWO, _columns, 'tie hard a.weight by map("'),
    Plant("rows and columns", TWO, _both, 'tie hard a.weight by map("'),
    Plant("rows of another", TWO, _across, 'tie hard a.weight, b.weight by codebook("'),
    Plant("channels in another order", TWO, _permuted,
          'tie hard a.weight, b.weight by codebook("'),
    Plant("values with a spread", TWO, _spread, 'tie hard a.weight by map("'),
    Plant("values", TWO, _values, 'tie hard a.weight by map("'),
)  # fmt: skip
# Layers of many shapes, small ones too, in which nothing is planted.
OTHERS = """p = dense(x, 7)
q = dense(p, 7)
r = dense(q, 2)
s = dense(r, 2)
t = dense(s, 3)
u = dense(t, 3)
v = conv2d(z, 4, window=3)
n = layer_norm(p)"""


def network(plant: Plant | None, seed: int, noise: float) -> Model:
    """A network with a tie planted, and noise of a share of each parameter's spread upon it."""
    layers = "\n".join([OTHERS, *([plant.layers] if plant else [])])
    names = [line.split(" = ")[0] for line in layers.splitlines()]
    total = " + ".join(f"mean(flatten({name}), over=0)" for name in names)
    model = tg.compile_text(f"{HEAD}{layers}\nloss {total}\n", dtype="float64", threads=1)
    rng = np.random.default_rng(seed)
    numbers = {
        name: rng.standard_normal(a.shape) * rng.uniform(0.2, 2.0) + rng.uniform(-0.2, 0.2)
        for name, a in model.parameters.items()
    }
    if plant is not None:
        plant.make(numbers, rng)
    for name, array in numbers.items():
        numbers[name] = array + noise * array.std() * rng.standard_normal(array.shape)
    model.set(numbers)
    return model


def table(noises: Sequence[float], seeds: int, tolerance: float) -> list[tuple[float, ...]]:
    """For each noise: plants recovered, ties proposed, and those of them that were not planted."""
    rows = []
    for noise in noises:
        recovered = proposed = wrong = 0
        for plant in (None, *PLANTS):
            for seed in range(seeds):
                found = suggest(network(plant, seed, noise), tolerance=tolerance)
                proposed += len(found.ties)
                wrong += not_planted(found, network(plant, seed, 0.0))
                if plant is not None:
                    recovered += any(s.startswith(plant.statement) for s in found.statements())
        rows.append((noise, recovered / (seeds * len(PLANTS)), proposed, wrong))
    return rows


def not_planted(found: Suggestions, clean: Model) -> int:
    """How many ties do not hold in the numbers without noise."""
    with Trial(clean) as trial:
        wrong = 0
        for tie in found.ties:
            outcome = trial.outcome([tie.proposal])
            wrong += outcome is None or trial.distance(tie.proposal, outcome) > 0.03
        return wrong


if __name__ == "__main__":
    print("noise  recovered  proposed  not planted")
    for row in table((0.0, 0.001, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2), 5, 0.05):
        print("{:5.1%} {:10.1%} {:9d} {:12d}".format(*row))
