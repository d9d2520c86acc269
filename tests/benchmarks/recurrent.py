"""Layers whose parameters are shared over time: a training step beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.harness import Case
from tests.benchmarks.peers import FORMS, contenders

TITLE = "Recurrent training step: 40 numbers a frame, 100 frames, 128 units, 30 labels"
FRAMES, INPUTS, UNITS, LABELS = 100, 40, 128, 30
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
TEXT = """
input frames: float[40, 100]
target label: class[30, 100]
h = CELL(frames, 128)
logits = conv1d(h, 30, window=1)
loss cross_entropy(logits, label)
train { optimizer = sgd(rate=0.001, momentum=0.9) }
"""
SIZES = (16, 64)


def cases(threads: int) -> list[Case]:
    return [
        Case(f"{cell}, batch {n}", flops(cell) * n, steps(cell, n, threads), at_least=1)
        for cell in GATES
        for n in SIZES
    ]


def flops(cell: str) -> float:
    inside = GATES[cell] * UNITS * (INPUTS + UNITS)
    first = GATES[cell] * UNITS * INPUTS
    return 2.0 * FRAMES * (3 * (inside + UNITS * LABELS) - first)


def steps(cell: str, batch: int, threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    rng = np.random.default_rng(0)
    arrays = {
        "frames": rng.standard_normal((batch, INPUTS, FRAMES), np.float32),
        "label": rng.integers(0, LABELS, (batch, FRAMES)),
    }
    model = tg.compile_text(TEXT.replace("CELL", cell), batch=batch, threads=threads)

    def torch_loss(p: Any, x: Any) -> Any:
        import torch
        from torch.nn import functional as F

        frames = x["frames"].permute(2, 0, 1)
        zero = frames.new_zeros(1, frames.shape[1], UNITS)
        # PyTorch has a second bias of every gate; only the gru's last one needs it.
        own = p.get("h.recurrent_bias", frames.new_zeros(0))
        second = torch.cat([frames.new_zeros(GATES[cell] * UNITS - own.shape[0]), own])
        weights = [p["h.weight"], p["h.recurrent"], p["h.bias"], second]
        run = {"rnn": torch.rnn_tanh, "gru": torch.gru, "lstm": torch.lstm}[cell]
        start = [zero, zero] if cell == "lstm" else zero
        h = run(frames, start, weights, True, 1, 0.0, True, False, False)[0].permute(1, 2, 0)
        return F.cross_entropy(F.conv1d(h, p["logits.weight"], p["logits.bias"]), x["label"])

    # PyTorch's compiler unrolls gru and lstm over time, which takes it many minutes.
    forms = FORMS if cell == "rnn" else FORMS[:1]
    return contenders(model, arrays, threads, torch_loss, {}, forms=forms)
