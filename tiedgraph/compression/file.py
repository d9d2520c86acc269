"""`.tied` files: a whole model in few bytes, for reading only.

    "tied", version, checksum (CRC-32) of what follows, flags;
    the model's text, deflated with a dictionary of words that such texts hold;
    files that the text reads, other than codebooks;
    one coded stream: for each codebook its size and its indices by parameter, then all free
    numbers by storage.

Numbers come back to the bit. The text has no comments and nothing about training.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiedgraph import compiler
from tiedgraph.compression.coder import Decoder, Encoder, code_indices, code_numbers, code_plain
from tiedgraph.diagnostics import Diagnostics, RunError, Source
from tiedgraph.ir.graph import Graph
from tiedgraph.model import Model
from tiedgraph.rewrite.harden import book_file
from tiedgraph.rewrite.text import replaced
from tiedgraph.runtime.folder import write_file
from tiedgraph.runtime.identity import Origin
from tiedgraph.syntax import ast
from tiedgraph.syntax.parser import parse
from tiedgraph.ties.view import step_map

Array = np.ndarray[Any, np.dtype[Any]]
MAGIC, VERSION = b"tied", 1
SUFFIX = ".tied"
MOST = 2**26  # bytes of a file, and of its text
FLOAT64, DEFINED, FILES = 1, 2, 4  # flags
CLUSTER_BITS = 20

# Words of such texts, the commonest last; never changed within one version.
WORDS = b"""input frames: float[12, time]
target speaker: class[9]
 = conv1d(, window=5, dilation=2) |> relu
 |> dropout(0.5) |> batch_norm |> sum(over=time) |> mean(over=time) |> flatten |> gelu
 = embedding( = layer_norm( = subsample(, 2, trainable=true) |> tanh |> sigmoid
loss mse(, metric rmse(metric accuracy(logits, label)
output digit = softmax(logits)
tie hard left, right = transpose( = flip(, axis=-1) by symmetric by map(".npy")
f1 = dense(image, 300) |> relu
f2 = dense(f1, 100) |> relu
logits = dense(f2, 10)
c1 = conv2d(image, 20, window=5) |> max_pool(2)
c2 = conv2d(c1, 50, window=5) |> max_pool(2)
f1 = dense(c2, 500) |> relu
model lenet
input image: float[1, 28, 28]
target label: class[10]
loss cross_entropy(logits, label)
metric error(logits, label)
data { image = scale(0.00392156862745098) }
data { image = scale(1/255) }
tie hard c1.weight, c2.weight, f1.weight, f2.weight, logits.weight by codebook("book.npz")
"""


@dataclass(frozen=True)
class Packed:
    """A file's content. parts: what takes how many bytes of it, in words."""

    content: bytes
    parts: Mapping[str, int]


# ---------------------------------------------------------------- writing


def pack(model: Model) -> Packed:
    """A model as the content of a `.tied` file."""
    text = _short(model.origin)
    books = _books(text)
    files = {n: content for n, content in model.origin.files.items() if n != model.origin.main}
    defined = dict(model.origin.define)
    graph = _checked(text, files, defined, "the model")
    others = {name: content for name, content in files.items() if name not in books.values()}
    flags = FLOAT64 * (model.dtype == "float64") + DEFINED * bool(defined) + FILES * bool(others)
    told = _deflated(text.encode())
    extra = _deflated(json.dumps(defined).encode()) if defined else b""
    if others:
        listed = json.dumps({name: len(content) for name, content in others.items()}).encode()
        extra += _deflated(listed) + _deflated(b"".join(others.values()))
    encoder = Encoder()
    for members in books:
        maps = {name: step_map(graph.params[name].view.steps[0]) for name in members}
        clusters = int(np.prod(maps[members[0]].free))
        encoder.part = "codebook"
        code_plain(encoder, clusters, CLUSTER_BITS)
        for found in maps.values():
            code_indices(encoder, found.index, clusters)
    values = {graph.params[members[0]].view.storage for members in books}
    free = model.free
    for name in graph.storages:
        code_numbers(encoder, free[name], "codebook" if name in values else "other numbers")
    body = bytes([flags]) + told + extra + encoder.content()
    content = MAGIC + bytes([VERSION]) + zlib.crc32(body).to_bytes(4, "little") + body
    parts = {"header": len(MAGIC) + 1 + 4 + 1, "text": len(told)}
    if extra:
        parts["other files"] = len(extra)
    parts |= {name: round(bits / 8) for name, bits in encoder.spent.items()}
    parts["rounding"] = len(content) - sum(parts.values())
    return Packed(content, parts)


def save(model: Model, path: Path) -> Packed:
    """Writes a `.tied` file as a whole or not at all; raises RunError."""
    if path.suffix != SUFFIX:
        raise RunError(f"a compressed model is a {SUFFIX} file, and not '{path}'")
    packed = pack(model)
    try:
        write_file(path, packed.content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"{path} cannot be written: {reason}") from None
    return packed


def _short(origin: Origin) -> str:
    """The text without comments, training and starts, of which a trained model needs none."""
    text = origin.files[origin.main].decode("utf-8-sig")
    file = parse(Source(origin.main, text), Diagnostics())
    assert file is not None
    kept = [
        statement.span.text
        for statement in file.statements
        if not isinstance(statement, ast.Initialise | ast.Freeze | ast.TieSoft)
        and not (isinstance(statement, ast.Settings) and statement.role == "train")
    ]
    return "\n".join(kept) + "\n"


def _books(text: str) -> dict[tuple[str, ...], str]:
    """Members of each `by codebook(...)`, with its file."""
    file = parse(Source("model", text), Diagnostics())
    found: dict[tuple[str, ...], str] = {}
    for statement in file.statements if file is not None else ():
        if isinstance(statement, ast.TieHard) and statement.by is not None:
            named = [*statement.by.arguments, *(k.value for k in statement.by.keywords)]
            if statement.by.function == "codebook" and isinstance(named[0], ast.String):
                members = tuple(selector.span.text for selector in statement.members)
                found[members] = named[0].value
    return found


def _deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=WORDS)
    packed = packer.compress(content) + packer.flush()
    return _varint(len(packed)) + packed


def _varint(number: int) -> bytes:
    parts = []
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


# ---------------------------------------------------------------- reading


class _Damaged(Exception):
    """The content is not that of a whole file."""


def unpack(content: bytes, name: str, threads: int = 2) -> Model:
    """The model of a `.tied` file; raises RunError, which names the file, where it is damaged."""
    if content[:4] != MAGIC:
        raise RunError(f"{name} is no {SUFFIX} file")
    if len(content) < 10 or content[4] != VERSION:
        raise RunError(f"{name} is of a version of {SUFFIX} files that this tiedgraph cannot read")
    if zlib.crc32(content[9:]).to_bytes(4, "little") != content[5:9]:
        raise RunError(f"{name} is damaged: its checksum is not that of its content")
    try:
        return _unpacked(content, name, threads)
    except (_Damaged, ValueError, KeyError, TypeError, AssertionError, OverflowError) as error:
        raise RunError(f"{name} is damaged: {error}") from None


def load(path: Path, threads: int = 2) -> Model:
    """Reads a `.tied` file; raises RunError."""
    try:
        if path.stat().st_size > MOST:
            raise RunError(f"{path} has more than {MOST:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunError(f"{path} cannot be read: {reason}") from None
    return unpack(content, str(path), threads)


def _unpacked(content: bytes, name: str, threads: int) -> Model:
    flags, at = content[9], 10
    told, at = _inflated(content, at)
    text = told.decode()
    defined: dict[str, float] = {}
    files: dict[str, bytes] = {}
    if flags & DEFINED:
        told, at = _inflated(content, at)
        defined = {str(key): float(value) for key, value in json.loads(told).items()}
    if flags & FILES:
        listed, at = _inflated(content, at)
        joined, at = _inflated(content, at)
        begin = 0
        for key, size in json.loads(listed).items():
            files[str(key)] = joined[begin : begin + int(size)]
            begin += int(size)
    decoder = Decoder(content[at:])
    books = _books(text)
    if books:
        bare = _checked(_without_books(text), files, defined, name)
        for members, file in books.items():
            clusters = code_plain(decoder, 0, CLUSTER_BITS)
            if not clusters:
                raise _Damaged("a codebook is empty")
            files[file] = book_file(
                {
                    param: code_indices(decoder, np.zeros(bare.params[param].shape, int), clusters)
                    for param in members
                }
            )
    graph = _checked(text, files, defined, name)
    dtype = "float64" if flags & FLOAT64 else "float32"
    numbers = {
        storage.id: code_numbers(decoder, np.zeros(storage.shape, dtype), "")
        for storage in graph.storages.values()
    }
    origin = Origin({f"{graph.name}.tie": text.encode(), **files}, defined, dtype, 0)
    model = Model(graph, origin, threads=threads)
    model.set(numbers)
    return model


def _checked(
    text: str, files: Mapping[str, bytes], defined: Mapping[str, float], name: str
) -> Graph:
    """The graph of a text with its files beside it."""
    with tempfile.TemporaryDirectory() as folder:
        for key, content in files.items():
            place = (Path(folder) / key).resolve()
            if not place.is_relative_to(Path(folder).resolve()):
                raise _Damaged(f"it names the file '{key}'")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        main = Path(folder) / "model.tie"
        main.write_text(text)
        found = compiler.check(main, defined)
    if found.graph is None:
        raise _Damaged(f"its text does not compile: {found.diagnostics.errors[0].message}")
    return found.graph


def _without_books(text: str) -> str:
    file = parse(Source("model", text), Diagnostics())
    assert file is not None
    return replaced(
        text,
        {
            statement.span: ""
            for statement in file.statements
            if isinstance(statement, ast.TieHard)
            and statement.by is not None
            and statement.by.function == "codebook"
        },
    )


def _inflated(content: bytes, at: int) -> tuple[bytes, int]:
    """One deflated part, and where the next begins."""
    size = shift = 0
    while True:
        byte = content[at]
        at += 1
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    reader = zlib.decompressobj(-15, zdict=WORDS)
    try:
        found = reader.decompress(content[at : at + size], MOST)
    except zlib.error:
        raise _Damaged("a part of it cannot be inflated") from None
    if not reader.eof:
        raise _Damaged("a part of it is cut off or too large")
    return found, at + size
