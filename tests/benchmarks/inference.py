"""Prediction with LeNet-5 and the small time-delay network, the call from Python included."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import lenet5, tdnn
from tests.benchmarks.harness import OURS, Case
from tests.benchmarks.peers import FORMS, tensors

TITLE = "Prediction"
FLOPS = {"LeNet-5": 2 * lenet5.FORWARD, "small TDNN": tdnn.FLOPS_SMALL / 3}


def cases(threads: int) -> list[Case]:
    return [
        Case(f"{name}, batch {n}", FLOPS[name] * n, steps(name, n, threads), at_least=1)
        for name in FLOPS
        for n in (1, 64)
    ]


def steps(name: str, batch: int, threads: int) -> dict[str, Any]:
    import tiedgraph as tg

    if name == "LeNet-5":
        text = lenet5.MODEL.read_text().replace("softmax(logits)", "logits")
        arrays, logits = lenet5.data(batch), lenet5.torch_logits
    else:
        text = tdnn.SMALL + "output digit = logits\n"
        arrays, logits = tdnn.data("small", batch), tdnn.torch_small_logits
    model = tg.compile_text(text, batch=batch, threads=threads)
    (given,) = model.inputs_of()
    x = {given: arrays[given]}
    return {
        OURS: lambda: np.square(model.predict(**x)["digit"]).sum(),
        **_peers(logits, model.free, x, threads),
    }


def _peers(logits: Callable[..., Any], free: Any, x: Any, threads: int) -> dict[str, Any]:
    names = (*FORMS[:2], "onnxruntime")
    try:
        import torch
    except ImportError:
        return dict.fromkeys(names)
    torch.set_num_threads(threads)
    params, given = tensors(free), tensors(x)
    compiled = torch.compile(logits)

    def step(function: Any) -> Callable[[], float]:
        def run() -> float:
            with torch.inference_mode():
                found = function(params, given).numpy()
            return float(np.square(found).sum())

        return run

    return {
        names[0]: step(logits),
        names[1]: step(compiled),
        names[2]: _onnxruntime(logits, params, x, threads),
    }


def _onnxruntime(logits: Any, params: Any, x: Any, threads: int) -> Callable[[], float] | None:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - what PyTorch writes the format with
    except ImportError:
        return None
    import torch

    (given,) = x

    class Net(torch.nn.Module):
        def forward(self, v: Any) -> Any:
            return logits(params, {given: v})

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        program = torch.onnx.export(Net(), (torch.tensor(x[given]),), dynamo=True, verbose=False)
        program.save(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options)
    feed = {session.get_inputs()[0].name: x[given]}
    return lambda: float(np.square(session.run(None, feed)[0]).sum())
