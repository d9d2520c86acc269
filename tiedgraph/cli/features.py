"""`tiedgraph features`."""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import Format, Output, say, show


class Normalise(StrEnum):
    """What is taken out of each recording."""

    mean = "mean"
    variance = "variance"
    none = "none"


def features(
    recordings: Annotated[
        list[Path], typer.Argument(help="WAV, FLAC or other recordings.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .npz file.", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="The input's name in the model.")] = "mfcc",
    coefficients: Annotated[int, typer.Option(min=1, max=26, help="Of each frame.")] = 13,
    deltas: Annotated[bool, typer.Option(help="Adds their slopes over time.")] = True,
    normalise: Annotated[
        Normalise, typer.Option(help="Per recording: less the mean, and over the deviation.")
    ] = Normalise.mean,
    format: Output = Format.text,
) -> None:
    """Makes frames for word models of recordings: MFCC in windows of 25 ms every 10 ms.

    The file has an array [recordings, numbers, longest], zero behind a recording's end, and
    `NAME.length`, in the order of the command line.

    Example: tiedgraph features yes.wav no.wav -o said.npz
    """
    if output.suffix != ".npz":
        raise typer.BadParameter(f"-o takes a .npz file, not '{output}'")
    if not name.isidentifier():
        raise typer.BadParameter(f"--name takes a name, not '{name}'")
    import numpy as np

    from tiedgraph import audio
    from tiedgraph.diagnostics import DataError
    from tiedgraph.runtime.folder import write_file

    found = []
    for path in recordings:
        samples = audio.read(path)
        try:
            frames = audio.cepstra(samples, coefficients)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        found.append(audio.finish(frames, deltas, normalise.value))
    lengths = np.array([frames.shape[1] for frames in found], np.int64)
    whole = np.zeros((len(found), found[0].shape[0], int(lengths.max())), np.float32)
    for row, frames in zip(whole, found, strict=True):
        row[:, : frames.shape[1]] = frames
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **{name: whole, f"{name}.length": lengths})
    write_file(output, content.getvalue())
    say(f"wrote {output}: {name} {list(whole.shape)}")
    show(format, "", {"output": str(output), "shape": list(whole.shape)})
