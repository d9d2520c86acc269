"""Imports: what they bring in, and where they may not lead."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from front import found, good

from tiedgraph.passes import limits, modules

USE = 'import "{}"\ninput x: float[4]\noutput y = tanh(x)\n'


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".tie")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_blocks_and_constants_come_in_with_what_they_need(tmp_path: Path) -> None:
    write(
        tmp_path,
        blocks='import "deep/more.tie"\nconst n = 3\nblock tower(a, m=n*2) { return wide(a, m) }\n'
        "input unseen: float[9]\nloss mean(unseen)\n",
        deep__more='import "../parts.tie"\nblock wide(a, m) { return dense(a, m + one) }\n',
        parts="const one = 1\n",
    )
    text = 'import "blocks.tie"\ninput x: float[4]\nh = tower(x)\ng = dense(h, n)\noutput y = g\n'
    graph = good(text, root=tmp_path)
    assert graph.params["h.weight"].shape == (7, 4)
    assert graph.params["g.weight"].shape == (3, 7)
    assert good(text, root=tmp_path, define={"n": 5}).params["h.weight"].shape == (11, 4)
    assert good(text, root=tmp_path, define={"one": 2}).params["h.weight"].shape == (8, 4)
    # Not what an imported file imports itself.
    assert found(text + "output z = wide(x, 3)", root=tmp_path) == ["E0203 6 wide"]


def test_messages_show_the_imported_file(tmp_path: Path) -> None:
    write(tmp_path, deep__blocks="block tower(a) { return tanhh(a) }\n")
    from front import front

    text = 'import "deep/blocks.tie"\ninput x: float[4]\noutput y = tower(x)\n'
    _, diagnostics = front(text, root=tmp_path, path="models/main.tie")
    (error,) = diagnostics.errors
    assert str(error.span) == "models/deep/blocks.tie:1:25"


def test_errors_in_an_imported_file_are_reported_and_nothing_follows(tmp_path: Path) -> None:
    write(tmp_path, blocks="block tower(a) { return tanh(a\n")
    text = 'import "blocks.tie"\ninput x: float[4]\noutput y = tower(x)\n'
    assert {item.split()[0] for item in found(text, root=tmp_path)} == {"E0103"}


def test_thirty_diamonds_are_read_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(30):
        write(tmp_path, **{
            f"top{i}": f'import "left{i}.tie"\nimport "right{i}.tie"\n',
            f"left{i}": f'import "top{i + 1}.tie"\n',
            f"right{i}": f'import "top{i + 1}.tie"\n',
        })  # fmt: skip
    write(tmp_path, top30="const deep = 1\n")
    read: list[object] = []
    real = modules.read_source
    monkeypatch.setattr(modules, "read_source", lambda p, d: (read.append(p), real(p, d))[1])
    good(USE.format("top0.tie"), root=tmp_path)
    assert len(read) == len(set(read)) == 91


def test_cycles(tmp_path: Path) -> None:
    write(tmp_path, a='import "b.tie"\n', b='import "c.tie"\n', c='import "a.tie"\n')
    assert found(USE.format("a.tie"), root=tmp_path) == ['E0504 1 import "a.tie"']
    text = 'import "main.tie"\ninput x: float[4]\noutput y = x\n'
    write(tmp_path, main=text)
    path = str(tmp_path / "main.tie")
    assert found(text, root=tmp_path, path=path) == ['E0504 1 import "main.tie"']


def test_names_from_two_files(tmp_path: Path) -> None:
    write(tmp_path, a="const n = 1\n", b="const n = 2\n", c='import "a.tie"\nconst k = n\n')
    text = 'import "a.tie"\nimport "b.tie"\ninput x: float[4]\noutput y = x * n\n'
    assert found(text, root=tmp_path) == ['E0202 2 import "b.tie"']
    text = 'import "a.tie"\nimport "a.tie"\nimport "c.tie"\ninput x: float[4]\noutput y = x * n\n'
    assert found(text, root=tmp_path) == []
    text = 'import "a.tie"\nconst n = 3\ninput x: float[4]\noutput y = x * n\n'
    assert found(text, root=tmp_path) == ["E0202 2 n"]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("missing.tie", "E0502"),
        (".", "E0502"),
        ("", "E0503"),
        ("../outside.tie", "E0503"),
        ("deep/../../outside.tie", "E0503"),
        ("/etc/hostname", "E0503"),
        ("link.tie", "E0503"),
        ("folder/outside.tie", "E0503"),
        ("hard.tie", "E0503"),
        ("fifo.tie", "E0502"),
        ("socket.tie", "E0502"),
        ("loop.tie", "E0502"),
    ],
)
def test_paths_stay_inside_and_are_refused_unopened(
    tmp_path: Path, path: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "model"
    (root / "deep").mkdir(parents=True)
    outside = tmp_path / "outside.tie"
    outside.write_text("const secret = 1\n")
    (root / "link.tie").symlink_to(outside)
    (root / "folder").symlink_to(tmp_path)
    (root / "loop.tie").symlink_to("loop.tie")
    os.link(outside, root / "hard.tie")
    os.mkfifo(root / "fifo.tie")
    monkeypatch.chdir(root)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.tie")
        monkeypatch.setattr(modules, "read_source", lambda *_: pytest.fail("it was opened"))
        got = found(USE.format(path), root=root)
    assert [item.split()[0] for item in got] == [code]


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path, real="const n = 2\n")
    (tmp_path / "link.tie").symlink_to("real.tie")
    good('import "link.tie"\ninput x: float[4]\noutput y = x * n', root=tmp_path)


def test_a_text_cannot_import() -> None:
    assert found(USE.format("a.tie")) == ['E0502 1 import "a.tie"']


def test_depth_is_limited(tmp_path: Path) -> None:
    count = limits.IMPORT_DEPTH + 5
    write(tmp_path, **{f"f{i}": f'import "f{i + 1}.tie"\n' for i in range(count)})
    write(tmp_path, **{f"f{count}": "const n = 1\n"})
    got = found(USE.format("f0.tie"), root=tmp_path)
    assert [item.split()[0] for item in got] == ["E0501"]
