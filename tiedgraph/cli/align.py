"""`tiedgraph align`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiedgraph.cli.common import (
    CORES,
    Format,
    Lexicon,
    Output,
    Threads,
    counted,
    load_run,
    say,
    show,
    write_json,
)
from tiedgraph.cli.decode import ChainName, Step, Window

if TYPE_CHECKING:
    from tiedgraph.recognition.parts import Clock
    from tiedgraph.recognition.recogniser import Recognised


def align(
    run: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Recordings.", show_default=False)],
    words: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What was said, a line a recording; by default the target of the data.",
        ),
    ] = None,
    lexicon: Lexicon = None,
    chain: ChainName = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .json file.", show_default=False)
    ] = None,
    textgrid: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Writes a Praat TextGrid of each recording: 0.TextGrid, ..."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Recordings at a time.")] = 64,
    step: Step = 0.010,
    window: Window = 0.025,
    threads: Threads = CORES,
    format: Output = Format.text,
) -> None:
    """Finds where the words of recordings, their phonemes and states begin and end.

    Prints a line for each recording: its number, and each word with its begin and end in seconds
    and where its phonemes begin. A border is midway between the middles of two frames.

    Example: tiedgraph align runs/words --data said.npz --words said.txt --textgrid grids
    """
    if output is not None and output.suffix != ".json":
        raise typer.BadParameter(f"-o takes a .json file, not '{output}'")
    from tiedgraph.recognition.recogniser import Recogniser
    from tiedgraph.recognition.textgrid import package

    if textgrid is not None:
        package()
    recogniser = Recogniser(load_run(run, threads, lexicon), chain)
    found = recogniser.align(data, words, batch=batch)
    clock = recogniser.clock(step, window)
    short = [i for i, item in enumerate(found) if item.problem]
    if short:
        told = ", ".join(map(str, short[:5])) + (", ..." if len(short) > 5 else "")
        say(f"warning: {counted(len(short), 'recording')} too short for its words: {told}")
    if textgrid is not None:
        _write_grids(textgrid, found, clock)
    told_all = {
        "step": step,
        "recordings": [_told(i, item, clock) for i, item in enumerate(found)],
    }
    if output is not None:
        write_json(output, told_all)
        say(f"wrote {output}: {counted(len(found), 'recording')}")
    quiet = output is not None or textgrid is not None
    lines = [] if quiet else [_line(i, item, clock) for i, item in enumerate(found)]
    show(format, "\n".join(lines), told_all)


def _write_grids(folder: Path, found: list[Recognised], clock: Clock) -> None:
    """A TextGrid for each recording that has an alignment."""
    from tiedgraph.recognition.textgrid import textgrid
    from tiedgraph.runtime.folder import write_file

    folder.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(found) - 1))
    count = 0
    for i, item in enumerate(found):
        for hypothesis in item.hypotheses:
            content = textgrid(hypothesis.parts, item.frames, clock)
            write_file(folder / f"{i:0{digits}}.TextGrid", content)
            count += 1
    say(f"wrote {counted(count, 'TextGrid')} in {folder}")


def _told(number: int, item: Recognised, clock: Clock) -> dict[str, Any]:
    row: dict[str, Any] = {"recording": number, "seconds": clock.whole(item.frames)}
    for hypothesis in item.hypotheses:
        parts = hypothesis.parts
        row["score"] = hypothesis.score
        row["words"] = clock.told(parts.words, item.frames, "word")
        row["phones"] = clock.told(parts.phones, item.frames, "phone")
        row["states"] = clock.told(parts.states, item.frames, "state")
    if item.problem:
        row["problem"] = item.problem
    return row


def _line(number: int, item: Recognised, clock: Clock) -> str:
    """`0  zero 0.13-0.54: Z 0.13 IH 0.19 ...`"""
    if item.problem:
        return f"{number}  ?  {item.problem}"
    parts = item.hypotheses[0].parts
    told = []
    for word in parts.words:
        phones = [
            f"{phone.name} {clock.at(phone.begin, item.frames):.2f}"
            for phone in parts.phones
            if word.begin <= phone.begin < word.end
        ]
        begin, end = clock.at(word.begin, item.frames), clock.at(word.end, item.frames)
        told.append(f"{word.name} {begin:.2f}-{end:.2f}: {' '.join(phones)}")
    return f"{number}  " + "; ".join(told)
