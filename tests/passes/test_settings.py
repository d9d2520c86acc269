"""`train { }` and `data { }`."""

from __future__ import annotations

import pytest
from front import found, front, good

from tiedgraph.passes.settings import (
    Adam,
    AdamW,
    Cosine,
    LoadSettings,
    RmsProp,
    Scale,
    Sgd,
    Steady,
    Step,
    TrainSettings,
    load_settings,
    train_settings,
)

START = """\
input  image: float[4]
target label: class[4]
h = dense(image, 4)
loss cross_entropy(h, label)
metric accuracy(h, label)
"""


def test_defaults() -> None:
    settings = train_settings(good(START))
    assert settings == TrainSettings()
    assert (settings.optimizer, settings.schedule) == (Adam(rate=0.001), Steady())
    assert (settings.batch, settings.epochs, settings.seed) == (32, 10, 0)
    assert (settings.clip, settings.patience, settings.monitor) == (None, None, "loss")
    assert load_settings(good(START)) == LoadSettings()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("optimizer = sgd(rate=0.05, momentum=0.9)", "optimizer", Sgd(0.05, 0.9)),
        ("optimizer = sgd(0.1, 0.9, true)", "optimizer", Sgd(0.1, 0.9, True)),
        ("optimizer = adam", "optimizer", Adam()),
        ("optimizer = adamw(decay=0.1)", "optimizer", AdamW(decay=0.1)),
        (
            "optimizer = rmsprop(rho=0.99, momentum=0.5)",
            "optimizer",
            RmsProp(rho=0.99, momentum=0.5),
        ),
        ("schedule = constant", "schedule", Steady()),
        ("schedule = step(10, 0.5)", "schedule", Step(10, 0.5)),
        ("schedule = cosine(final=0.01)", "schedule", Cosine(0.01)),
        ("warmup = 100", "warmup", 100),
        ("batch = 2 * 32", "batch", 64),
        ("decay = 1e-4", "decay", 1e-4),
        ("clip = 1", "clip", 1.0),
        ("patience = 5", "patience", 5),
        ("monitor = accuracy", "monitor", "accuracy"),
        ("monitor = cross_entropy", "monitor", "cross_entropy"),
        ("keep = best", "keep", "best"),
        ("shuffle = false", "shuffle", False),
    ],
)
def test_train(text: str, name: str, value: object) -> None:
    found_value = getattr(train_settings(good(f"{START}train {{ {text} }}")), name)
    assert found_value == value
    assert type(found_value) is type(value)


def test_data() -> None:
    graph = good(
        START
        + 'data {\n train = "a.npz"\n validate = "b.npz"\n image = scale(1/255, offset=-0.5)\n}'
    )
    assert load_settings(graph) == LoadSettings("a.npz", "b.npz", {"image": Scale(1 / 255, -0.5)})


def test_several_groups_are_one() -> None:
    settings = train_settings(good(START + "train { batch = 8 }\ntrain { epochs = 3 }"))
    assert (settings.batch, settings.epochs) == (8, 3)
    assert found(START + "train { batch = 8 }\ntrain { batch = 3 }") == ["E0601 7 batch"]


BAD = {
    "train { epoch = 3 }": "E0601 did you mean 'epochs'?",
    "train { optimizer = sdg(0.1) }": "E0602 did you mean 'sgd'?",
    "train { optimizer = 3 }": "E0602 write sgd(",
    "train { optimizer = sgd(rat=0.1) }": "E0601 did you mean 'rate'?",
    "train { optimizer = sgd(0.1, rate=0.1) }": "E0602 write sgd(",
    "train { optimizer = sgd(1, 0.1, true, 4) }": "E0602 write sgd(",
    "train { optimizer = sgd(rate=-1) }": "E0602 for example rate = 0.01",
    "train { optimizer = sgd(momentum=2) }": "E0602 for example",
    "train { optimizer = sgd(nesterov=true) }": "E0602 write sgd(",
    "train { optimizer = sgd(rate=image) }": "E0602 write a number",
    "train { optimizer = adamw, decay = 0.1 }": "E0602 write optimizer = adamw",
    "train { schedule = step(factor=0.5) }": "E0602 write step(every, factor=0.1)",
    "train { batch = 0 }": "E0602 for example batch = 32",
    "train { batch = 2.5 }": "E0602 for example batch = 32",
    "train { clip = 0 }": "E0602 for example clip = 1",
    "train { patience = -1 }": "E0602 for example patience = 5",
    "train { monitor = acuracy }": "E0602 did you mean 'accuracy'?",
    "train { keep = worst }": "E0602 write keep = best or last",
    "train { shuffle = 1 }": "E0602 for example shuffle = true",
    "train { seed = -1 }": "E0602 for example seed = 0",
    "data { images = scale(2) }": "E0601 did you mean 'image'?",
    "data { image = 255 }": "E0602 write scale(factor, offset=0)",
    "data { label = scale(2) }": "E0602 only float inputs and targets are scaled",
    "data { train = digits }": 'E0602 write train = "digits.npz"',
}


@pytest.mark.parametrize("text", BAD)
def test_findings(text: str) -> None:
    _, diagnostics = front(START + text)
    (error,) = diagnostics.errors
    assert f"{error.code} {error.hint}".startswith(BAD[text])
