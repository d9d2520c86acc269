"""`tiedgraph new`."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from tiedgraph.cli.common import INPUT_ERROR, Format, Output, say, show

EXAMPLES = ("lenet5", "tdnn", "siamese", "autoencoder", "equivariant", "words")
# Where several models and scripts lie in an example: the ones to start with.
FIRST = {"words": ("gaussian.tie", ("pick.py",))}


def examples_folder() -> Path:
    """The shipped examples: inside the package when installed, beside it in a checkout."""
    packaged = Path(str(resources.files("tiedgraph").joinpath("examples")))
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "examples"


def new(
    name: Annotated[str, typer.Argument(help="Name of the new folder.", show_default=False)],
    example: Annotated[
        str, typer.Option("--from", help=f"Example to start from: {', '.join(EXAMPLES)}.")
    ] = "lenet5",
    format: Output = Format.text,
) -> None:
    """Makes a folder with a started .tie file and the data of one of the examples.

    Example: tiedgraph new digits --from lenet5
    """
    place = Path(name)
    stem = place.name
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", stem):
        raise typer.BadParameter(f"'{stem}' cannot name a model: use letters, digits and _")
    if example not in EXAMPLES:
        from tiedgraph.diagnostics import nearest

        hint = nearest(example, EXAMPLES) or f"examples are {', '.join(EXAMPLES)}"
        raise typer.BadParameter(f"there is no example '{example}'; {hint}")
    if place.exists():
        say(f"error: '{place}' is there already; choose another name")
        raise typer.Exit(INPUT_ERROR)
    shipped = examples_folder()
    source = shipped / example
    main, wanted = FIRST.get(example, (f"{example}.tie", None))
    files: dict[str, bytes] = {}
    for path in sorted(source.iterdir()):
        if path.suffix == ".py" and wanted is not None and path.name not in wanted:
            continue
        if path.suffix in (".npz", ".py", ".tie", ".dict") and path.stem != "untied":
            files[path.name] = path.read_bytes()
    text = files.pop(main).decode()
    text = re.sub(rf"^model {example}$", f"model {stem}", text, flags=re.MULTILINE)
    # Data that the example takes from another one comes along, beside the file.
    for other, data in re.findall(r'"\.\./(\w+)/([\w.-]+)"', text):
        files[data] = (shipped / other / data).read_bytes()
        text = text.replace(f'"../{other}/{data}"', f'"{data}"')
    files = {n: c for n, c in files.items() if not n.endswith(".tie")}
    digits = 'HERE.parent / "lenet5"'
    for script in [n for n in files if n.endswith(".py")]:
        body = files[script].decode()
        if digits not in body:
            continue
        for data in ("digits-train.npz", "digits-test.npz"):
            files[data] = (shipped / "lenet5" / data).read_bytes()
        files[script] = body.replace(digits, "HERE").encode()
    place.mkdir(parents=True)
    (place / f"{stem}.tie").write_text(text)
    for file, content in files.items():
        (place / file).write_bytes(content)
    scripts = [f"python {place / n}" for n in files if n.endswith(".py")]
    steps = [*scripts, f"tiedgraph train {place / stem}.tie"]
    told = f"made {place} from the {example} example; next:\n" + "\n".join(f"  {s}" for s in steps)
    show(format, told, {"folder": str(place), "files": sorted([*files, f"{stem}.tie"])})
