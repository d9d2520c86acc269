"""Connectionist temporal classification over scores of a linear map, beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.benchmarks.harness import Case
from tests.benchmarks.peers import FORMS, contenders

TITLE = "CTC training step: 100 frames of 40 numbers, 30 symbols, 20 labels"
FRAMES, INPUTS, SYMBOLS, LABELS = 100, 40, 30, 20
TEXT = """
input frames: float[40, 100]
target spelt: class[29, 20]
scores = conv1d(frames, 30, window=1)
loss ctc(scores, spelt)
train { optimizer = sgd(rate=0.001, momentum=0.9) }
"""
SIZES = (16, 64)


def cases(threads: int) -> list[Case]:
    # The two products of the linear map, and 30 operations for each place of each step.
    flops = FRAMES * (2.0 * 2 * INPUTS * SYMBOLS + 2 * 30 * (LABELS + SYMBOLS))
    return [Case(f"ctc, batch {n}", flops * n, steps(n, threads), at_least=1) for n in SIZES]


def steps(batch: int, threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    rng = np.random.default_rng(0)
    arrays = {
        "frames": rng.standard_normal((batch, INPUTS, FRAMES), np.float32),
        "spelt": rng.integers(0, SYMBOLS - 1, (batch, LABELS)),
    }
    model = tg.compile_text(TEXT, batch=batch, threads=threads)

    def torch_loss(p: Any, x: Any) -> Any:
        import torch
        from torch.nn import functional as F

        scores = F.conv1d(x["frames"], p["scores.weight"], p["scores.bias"])
        logs = scores.permute(2, 0, 1).log_softmax(2)
        long, many = torch.full((batch,), FRAMES), torch.full((batch,), LABELS)
        found = F.ctc_loss(logs, x["spelt"], long, many, blank=SYMBOLS - 1, reduction="sum")
        return found / batch

    return contenders(model, arrays, threads, torch_loss, {}, forms=FORMS[:2])
