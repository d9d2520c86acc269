"""`tiedgraph decode`."""

from __future__ import annotations

from math import inf
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

if TYPE_CHECKING:
    from tiedgraph.recognition.parts import Clock
    from tiedgraph.recognition.recogniser import Recognised
    from tiedgraph.recognition.transcripts import WordErrors

ChainName = Annotated[
    str | None, typer.Option("--chain", help="Which chain of words, where the model has several.")
]
Step = Annotated[
    float, typer.Option("--step", min=1e-4, max=10, help="Seconds from one frame to the next.")
]
Window = Annotated[
    float, typer.Option("--window", min=1e-4, max=10, help="Seconds that a frame is made of.")
]


def decode(
    run: Annotated[Path, typer.Argument(help="The folder of a run.", show_default=False)],
    data: Annotated[Path, typer.Option("--data", help="Recordings.", show_default=False)],
    lexicon: Lexicon = None,
    chain: ChainName = None,
    best: Annotated[int, typer.Option(min=1, max=1000, help="Answers for each recording.")] = 1,
    beam: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="Gives up ways whose log probability is so much below the best one's; none by "
            "default, which is exact.",
        ),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Strings of any words.")] = False,
    bigram: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Strings of words by a bigram in the ARPA format."),
    ] = None,
    lm_weight: Annotated[
        float, typer.Option(min=0, help="What the bigram's log probabilities are multiplied by.")
    ] = 1.0,
    insertion_penalty: Annotated[
        float, typer.Option(help="Taken off the log probability for each word of a string.")
    ] = 0.0,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What was said, a line a recording; tells the word error."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .json file.", show_default=False)
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Recordings at a time.")] = 64,
    step: Step = 0.010,
    window: Window = 0.025,
    threads: Threads = CORES,
    format: Output = Format.text,
) -> None:
    """Recognises words in recordings with a trained word model, or with --loop or --bigram strings
    of words.

    Prints a line for each recording: its number, the words with their begin and end in seconds, and
    the log probability of the best way to say them.

    Example: tiedgraph decode runs/words --data said.npz --lexicon new.dict --best 3
    """
    if loop and bigram is not None:
        raise typer.BadParameter("give --loop or --bigram, which tells what may follow what")
    if output is not None and output.suffix != ".json":
        raise typer.BadParameter(f"-o takes a .json file, not '{output}'")
    if not loop and bigram is None and insertion_penalty:
        raise typer.BadParameter("--insertion-penalty is for strings: --loop or --bigram")
    if bigram is None and lm_weight != 1.0:
        raise typer.BadParameter("--lm-weight is the weight of a --bigram")
    if not (lm_weight < inf and abs(insertion_penalty) < inf):
        raise typer.BadParameter("--lm-weight and --insertion-penalty are finite numbers")
    from tiedgraph.recognition.recogniser import Recogniser

    recogniser = Recogniser(load_run(run, threads, lexicon), chain)
    said = recogniser.reference(reference) if reference is not None else None
    found = recogniser.decode(
        data,
        best=best,
        beam=inf if beam is None else beam,
        loop=loop,
        bigram=bigram,
        lm_weight=lm_weight,
        insertion_penalty=insertion_penalty,
        batch=batch,
        reference=said,
    )
    clock = recogniser.clock(step, window)
    wrong = recogniser.errors(found, said) if said is not None else None
    told: dict[str, Any] = {
        "step": step,
        "recordings": [_told(i, item, clock) for i, item in enumerate(found)],
    }
    if wrong is not None:
        told["word_error"] = _errors(wrong)
    _remark(found, beam, recogniser.unknown, recogniser.order)
    if output is not None:
        write_json(output, told)
        say(f"wrote {output}: {counted(len(found), 'recording')}")
    lines = [] if output is not None else [_line(i, item, clock) for i, item in enumerate(found)]
    if wrong is not None:
        lines.append(_errors_text(wrong))
    show(format, "\n".join(lines), told)


def _told(number: int, item: Recognised, clock: Clock) -> dict[str, Any]:
    row: dict[str, Any] = {
        "recording": number,
        "seconds": clock.whole(item.frames),
        "hypotheses": [
            {
                "score": hypothesis.score,
                "words": clock.told(hypothesis.parts.words, item.frames, "word"),
            }
            for hypothesis in item.hypotheses
        ],
    }
    if item.problem:
        row["problem"] = item.problem
    return row


def _line(number: int, item: Recognised, clock: Clock) -> str:
    """`0  yes 0.13-0.52  -4415.7`; further answers behind a bar."""
    if item.problem:
        return f"{number}  ?  {item.problem}"
    parts = []
    for hypothesis in item.hypotheses:
        words = [
            f"{part.name} {clock.at(part.begin, item.frames):.2f}-"
            f"{clock.at(part.end, item.frames):.2f}"
            for part in hypothesis.parts.words
        ]
        parts.append(f"{', '.join(words)}  {hypothesis.score:.1f}")
    return f"{number}  " + "  |  ".join(parts)


def _remark(
    found: list[Recognised], beam: float | None, unknown: tuple[str, ...], order: int
) -> None:
    """What should not go by unseen, on standard error."""
    if order > 2:
        say(f"warning: n-grams of more than two words are not used; the file has up to {order}")
    if unknown:
        more = "" if len(unknown) <= 5 else f" and {len(unknown) - 5} more"
        say(
            f"warning: the bigram does not have {', '.join(unknown[:5])}{more}, which cannot be "
            "recognised"
        )
    short = sum(bool(item.problem) for item in found)
    if short:
        say(f"warning: {counted(short, 'recording')} too short for any word")
    widened = sum(beam is not None and item.beam > beam for item in found)
    if widened:
        say(f"warning: the beam lost all ways in {counted(widened, 'recording')}; it was widened")


def _errors(wrong: WordErrors) -> dict[str, Any]:
    return {
        "rate": wrong.rate,
        "substituted": wrong.substituted,
        "inserted": wrong.inserted,
        "deleted": wrong.deleted,
        "words": wrong.words,
    }


def _errors_text(wrong: WordErrors) -> str:
    return (
        f"word error {wrong.rate:.4g}: {wrong.substituted} substituted, {wrong.inserted} inserted, "
        f"{wrong.deleted} deleted, of {counted(wrong.words, 'word')}"
    )
