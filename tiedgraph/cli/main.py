"""`tiedgraph`: the commands, and what happens when one fails."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from tiedgraph.cli import (
    align,
    bench,
    check,
    compile,
    compress,
    decode,
    evaluate,
    explain,
    features,
    fmt,
    graph,
    harden,
    new,
    plot,
    predict,
    suggest,
    train,
    untie,
)
from tiedgraph.cli.common import INPUT_ERROR, say
from tiedgraph.diagnostics import DataError, RunError, TieError

app = typer.Typer(
    name="tiedgraph",
    help="Declare a network and what it shares; check, compile, train and explain it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from tiedgraph import __version__

        typer.echo(f"tiedgraph {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Declare a network and what it shares; check, compile, train and explain it."""


app.command("check")(check.check)
app.command("compile")(compile.compile)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("features")(features.features)
app.command("predict")(predict.predict)
app.command("decode")(decode.decode)
app.command("align")(align.align)
app.command("explain")(explain.explain)
app.command("suggest")(suggest.suggest)
app.command("graph")(graph.graph)
app.command("fmt")(fmt.fmt)
app.command("harden")(harden.harden)
app.command("untie")(untie.untie)
app.command("compress")(compress.compress)
app.command("plot")(plot.plot)
app.command("bench")(bench.bench)
app.command("new")(new.new)


def main() -> None:
    """Runs the command line; never a traceback for what a user can cause."""
    try:
        app()
    except TieError as error:
        from tiedgraph.cli.common import print_diagnostics

        print_diagnostics(error.diagnostics)
        sys.exit(INPUT_ERROR)
    except (DataError, RunError) as error:
        say(f"error: {error}")
        sys.exit(INPUT_ERROR)
    except KeyboardInterrupt as error:
        say(f"\n{error}" if str(error) else "\ninterrupted")
        sys.exit(getattr(error, "exit_code", 130))
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(INPUT_ERROR)
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        say(f"error: {error.strerror or error}{where}")
        sys.exit(INPUT_ERROR)
    except MemoryError:
        say("error: not enough memory; try a smaller batch or model")
        sys.exit(INPUT_ERROR)
    except Exception as error:
        if os.environ.get("TIEDGRAPH_TRACEBACK"):
            raise
        say(
            f"error: {type(error).__name__}: {error}\n"
            "This is a fault in tiedgraph. Run again with TIEDGRAPH_TRACEBACK=1 to see where, "
            "and please report it."
        )
        sys.exit(70)
