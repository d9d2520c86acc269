"""Dense networks: one with and without a soft tie, a tied autoencoder, and tasks on one trunk."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.harness import Case
from tests.benchmarks.peers import contenders, jax_cross_entropy

TITLE = "Dense networks, training step"
BATCH, CASES, COMPONENTS, STRENGTH = 128, 55_000, 17, 0.003
PLAIN = """
input x: float[784]
target label: class[10]
f1 = dense(x, 300) |> relu
f2 = dense(f1, 100) |> relu
f3 = dense(f2, 10)
loss cross_entropy(f3, label)
train { optimizer = sgd(rate=0.001, momentum=0.9) }
"""
LAYERS = ("f1", "f2", "f3")
SOFT = (
    PLAIN
    + f"""
tie soft book = f1.weight, f2.weight, f3.weight {{
    components = {COMPONENTS}, zero = 0.99, strength = {STRENGTH}
}}
"""
)
CODER = """
input x: float[784]
e1 = dense(x, 256) |> relu
e2 = dense(e1, 64) |> relu
d1 = dense(e2, 256) |> relu
d2 = dense(d1, 784)
tie hard d1.weight = transpose(e2.weight)
tie hard d2.weight = transpose(e1.weight)
loss mse(d2, x)
train { optimizer = sgd(rate=0.001, momentum=0.9) }
"""
TASKS = 5
SHARED = "block trunk(x) {\n    h = dense(x, 256) |> relu\n    return dense(h, 256) |> relu\n}\n"
SHARED += "train { optimizer = sgd(rate=0.001, momentum=0.9), tasks = joint }\n"
for _i in range(TASKS):
    SHARED += f"""
task t{_i} {{
    input x: float[64]
    target label: class[10]
    h = trunk(x)
    logits = dense(h, 10)
    loss cross_entropy(logits, label)
}}
"""
SHARED += f"tie shared h across {', '.join(f't{i}' for i in range(TASKS))}\n"
FLOPS_PLAIN = 2 * (3 * (784 * 300 + 300 * 100 + 1000) - 784 * 300)
FLOPS_CODER = 2 * (6 * (784 * 256 + 256 * 64) - 784 * 256)
FLOPS_TASK = 2 * (3 * (64 * 256 + 256 * 256 + 2560) - 64 * 256)


def cases(threads: int) -> list[Case]:
    return [
        Case("784-300-100-10, batch 128", FLOPS_PLAIN * BATCH, plain(threads), at_least=1.2),
        Case("the same, soft tie of 17", FLOPS_PLAIN * BATCH, soft(threads), at_least=4),
        Case("tied autoencoder, batch 128", FLOPS_CODER * BATCH, coder(threads), at_least=1.3),
        Case("five tasks, batch 64 each", FLOPS_TASK * 64 * TASKS, tasks(threads), at_least=1.3),
    ]


def data(batch: int = BATCH, inputs: int = 784) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.random((batch, inputs), np.float32)
    return {"x": x, "label": rng.integers(0, 10, batch)}


def plain(threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    arrays = data()
    model = tg.compile_text(PLAIN, batch=BATCH, threads=threads)
    return contenders(model, arrays, threads, torch_plain, {"JAX": jax_plain})


def torch_plain(p: Any, x: Any) -> Any:
    from torch.nn import functional as F

    h = x["x"]
    for name in LAYERS:
        h = F.linear(h, p[f"{name}.weight"], p[f"{name}.bias"])
        h = h if name == "f3" else h.relu()
    return F.cross_entropy(h, x["label"])


def jax_plain(p: Any, x: Any) -> Any:
    from jax.nn import relu

    h = x["x"]
    for name in LAYERS:
        h = h @ p[f"{name}.weight"].T + p[f"{name}.bias"]
        h = h if name == "f3" else relu(h)
    return jax_cross_entropy(h, x["label"])


# ---------------------------------------------------------------- with a mixture


def soft(threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    arrays = data()
    model = tg.compile_text(SOFT, batch=BATCH, threads=threads, samples=CASES)
    state = model.mixtures["book"]
    start = {n: a.copy() for n, a in model.parameters.items() if not n.startswith("book.")}
    start["means"] = np.asarray(state.means[1:], np.float32)
    start["logs"] = np.asarray(-2 * np.log(state.widths), np.float32)
    start["mixing"] = np.log(np.asarray(state.proportions[1:], np.float32))
    return contenders(model, arrays, threads, torch_soft, {"JAX": jax_soft}, start)


def torch_soft(p: Any, x: Any) -> Any:
    import torch

    weights = torch.cat([p[f"{name}.weight"].reshape(-1) for name in LAYERS])
    means = torch.cat([torch.zeros(1), p["means"]])
    mixing = torch.cat([torch.full((1,), 0.99).log(), p["mixing"].log_softmax(0) + np.log(0.01)])
    logs = p["logs"]
    inside = mixing + (logs - np.log(2 * np.pi)) / 2
    terms = inside - logs.exp() / 2 * (weights[:, None] - means) ** 2
    return torch_plain(p, x) - STRENGTH / CASES * terms.logsumexp(1).sum()


def jax_soft(p: Any, x: Any) -> Any:
    import jax
    import jax.numpy as jnp

    weights = jnp.concatenate([p[f"{name}.weight"].reshape(-1) for name in LAYERS])
    means = jnp.concatenate([jnp.zeros(1), p["means"]])
    rest = jax.nn.log_softmax(p["mixing"]) + np.log(0.01)
    mixing = jnp.concatenate([jnp.log(jnp.full(1, 0.99)), rest])
    logs = p["logs"]
    inside = mixing + (logs - np.log(2 * np.pi)) / 2
    terms = inside - jnp.exp(logs) / 2 * (weights[:, None] - means) ** 2
    return jax_plain(p, x) - STRENGTH / CASES * jax.nn.logsumexp(terms, 1).sum()


# ---------------------------------------------------------------- shared weights


def coder(threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    arrays = {"x": data()["x"]}
    model = tg.compile_text(CODER, batch=BATCH, threads=threads)
    return contenders(model, arrays, threads, torch_coder, {"JAX": jax_coder})


def torch_coder(p: Any, x: Any) -> Any:
    from torch.nn import functional as F

    h = F.linear(x["x"], p["e1.weight"], p["e1.bias"]).relu()
    h = F.linear(h, p["e2.weight"], p["e2.bias"]).relu()
    h = F.linear(h, p["e2.weight"].T, p["d1.bias"]).relu()
    return F.mse_loss(F.linear(h, p["e1.weight"].T, p["d2.bias"]), x["x"])


def jax_coder(p: Any, x: Any) -> Any:
    from jax.nn import relu

    h = relu(x["x"] @ p["e1.weight"].T + p["e1.bias"])
    h = relu(h @ p["e2.weight"].T + p["e2.bias"])
    h = relu(h @ p["e2.weight"] + p["d1.bias"])
    return ((h @ p["e1.weight"] + p["d2.bias"] - x["x"]) ** 2).mean()


def tasks(threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    arrays = {}
    for i in range(TASKS):
        arrays |= {f"t{i}.{name}": array for name, array in data(64, 64).items()}
    model = tg.compile_text(SHARED, batch=64, threads=threads)
    return contenders(model, arrays, threads, torch_tasks, {"JAX": jax_tasks})


def _trunk(p: Any) -> tuple[list[Any], list[Any]]:
    """Weights and biases of the trunk's two layers."""
    names = sorted(name.rpartition(".")[0] for name in p if "logits" not in name)
    layers = list(dict.fromkeys(names))
    layers.sort(key=lambda layer: p[f"{layer}.weight"].shape[1])
    return [p[f"{n}.weight"] for n in layers], [p[f"{n}.bias"] for n in layers]


def torch_tasks(p: Any, x: Any) -> Any:
    import torch
    from torch.nn import functional as F

    weights, biases = _trunk(p)
    h = torch.cat([x[f"t{i}.x"] for i in range(TASKS)])
    for weight, bias in zip(weights, biases, strict=True):
        h = F.linear(h, weight, bias).relu()
    total = 0
    for i, own in enumerate(h.split(64)):
        scores = F.linear(own, p[f"t{i}.logits.weight"], p[f"t{i}.logits.bias"])
        total = total + F.cross_entropy(scores, x[f"t{i}.label"])
    return total


def jax_tasks(p: Any, x: Any) -> Any:
    import jax.numpy as jnp
    from jax.nn import relu

    weights, biases = _trunk(p)
    h = jnp.concatenate([x[f"t{i}.x"] for i in range(TASKS)])
    for weight, bias in zip(weights, biases, strict=True):
        h = relu(h @ weight.T + bias)
    total = 0.0
    for i in range(TASKS):
        scores = h[64 * i : 64 * i + 64] @ p[f"t{i}.logits.weight"].T + p[f"t{i}.logits.bias"]
        total += jax_cross_entropy(scores, x[f"t{i}.label"])
    return total
