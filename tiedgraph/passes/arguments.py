"""A call's arguments: which are values, which are settings, and what the settings hold.

An op takes its inputs first, then its settings in the order of its `Attrs`; both may be named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from tiedgraph.diagnostics import Diagnostics, Span, nearest
from tiedgraph.ops import OPS
from tiedgraph.ops.rules import Op
from tiedgraph.passes import limits
from tiedgraph.passes.constants import describe, is_number
from tiedgraph.passes.scope import Constant, Failed, Plain, Result, Word
from tiedgraph.syntax import ast

REPEAT = "repeat"
USABLE = ("layer", "function", "loss", "metric")


def spelling(op: Op) -> str:
    return op.spelling or op.name


_BY_SPELLING: dict[str, list[Op]] = {}
for _op in OPS:
    if _op.category in USABLE:
        _BY_SPELLING.setdefault(spelling(_op), []).append(_op)


def is_function(name: str) -> bool:
    """Whether a call of this name is part of the language."""
    return name == REPEAT or name in _BY_SPELLING


def function_names() -> list[str]:
    return [REPEAT, *_BY_SPELLING]


def find_op(name: str, metric: bool) -> Op | None:
    """The op that users write as `name`; a metric where one can stand, else anything else first."""
    found = _BY_SPELLING.get(name, ())
    return min(found, key=lambda op: (op.category == "metric") is not metric, default=None)


def settings_of(op: Op) -> list[Field[Any]]:
    """The fields of an op's `Attrs` that users may write."""
    return settings_of_class(op.Attrs)


def settings_of_class(record: type) -> list[Field[Any]]:
    return [field for field in fields(record) if field.metadata.get("kind")]


def signature(op: Op) -> str:
    """`dense(x, units, bias=true)`."""
    parts = [f"{name[:-1]}, ..." if name.endswith("*") else name for name in op.inputs]
    for field in settings_of(op):
        default = field.default
        if default is MISSING:
            parts.append(field.name)
        else:
            parts.append(f"{field.name}={_default_text(default)}")
    return f"{spelling(op)}({', '.join(parts)})"


def _default_text(value: Any) -> str:
    if isinstance(value, tuple) and len(set(value)) == 1:
        return _default_text(value[0])
    if isinstance(value, tuple):
        return f"[{', '.join(_default_text(item) for item in value)}]"
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


# Every bare word that is a value of some setting: `same`, `causal`.
WORDS = frozenset(
    word
    for op in OPS
    for setting in fields(op.Attrs)
    for word in (
        ("same", "causal")
        if setting.metadata.get("kind") == "pad"
        else setting.metadata.get("words", ())
    )
)


# ---------------------------------------------------------------- binding


@dataclass(frozen=True)
class Given:
    """One argument of a call: its text, or what the left side of a `|>` already gave."""

    span: Span
    expression: ast.Expression | None = None
    result: Result | None = None


@dataclass(frozen=True)
class Bound:
    inputs: tuple[str, ...]
    attrs: Any
    places: tuple[tuple[int | str, Span], ...]


# How an argument becomes a constant, given the bare words that may stand in its place.
ToConstant = Callable[[Given, frozenset[str]], Constant | Failed]


class Arguments:
    """The arguments of one call of an op.

    What `values` answers is to be evaluated and handed to `take`; `finish` then computes the
    settings. Everything that is wrong is reported on the way.
    """

    def __init__(
        self, op: Op, call: ast.Call, given: Sequence[Given], diagnostics: Diagnostics
    ) -> None:
        self.op = op
        self.call = call
        self.diagnostics = diagnostics
        self.fields = {field.name: field for field in settings_of(op)}
        self.variadic = bool(op.inputs) and op.inputs[-1].endswith("*")
        self.by_input: dict[str, list[Given]] = {name: [] for name in op.inputs}
        self.settings: dict[str, Given] = {}
        self.inputs: list[str] = []
        self.places: list[tuple[int | str, Span]] = []
        self.failed: Failed | None = None
        self._sort(given)

    def _error(self, code: str, message: str, span: Span, **more: Any) -> None:
        hint = more.pop("hint", "") or f"write {signature(self.op)}"
        self.diagnostics.error(code, message, span, hint=hint, **more)
        self.failed = self.failed or Failed()

    # ------------------------------------------------------------ which is which

    def _sort(self, given: Sequence[Given]) -> None:
        named = {keyword.name for keyword in self.call.keywords}
        inputs = [name for name in self.op.inputs if name not in named]
        settings = [name for name in self.fields if name not in named]
        word = spelling(self.op)
        for item in given:
            if inputs and not (self.variadic and len(inputs) == 1 and _is_plain(item)):
                self.by_input[inputs[0]].append(item)
                if not (self.variadic and len(inputs) == 1):
                    inputs.pop(0)
            elif settings:
                inputs = []
                self.settings[settings.pop(0)] = item
            else:
                count = len(self.op.inputs) + len(self.fields)
                takes = f"{count} argument{'s' * (count != 1)}"
                self._error(
                    "E0204", f"{word} takes at most {takes}", item.span, label="one too many"
                )
                return
        for keyword in self.call.keywords:
            item = Given(keyword.value.span, keyword.value)
            known = [*self.fields, *(name.rstrip("*") for name in self.op.inputs)]
            if keyword.name in self.settings:
                self._error(
                    "E0204", f"'{keyword.name}' of {word} is given twice", keyword.span,
                    others=[(self.settings[keyword.name].span, "given here already")],
                )  # fmt: skip
            elif keyword.name in self.fields:
                self.settings[keyword.name] = item
            elif keyword.name in self.by_input:
                self.by_input[keyword.name].append(item)
            else:
                self._error(
                    "E0204",
                    f"{word} has no argument '{keyword.name}'",
                    keyword.span,
                    hint=nearest(keyword.name, known),
                )

    # ------------------------------------------------------------ values

    def values(self) -> list[tuple[str, Given]]:
        """The arguments that are values of the model, with their input's name."""
        for name, items in self.by_input.items():
            if not items and self.failed is None:
                missing = name.rstrip("*")
                self._error("E0204", f"{spelling(self.op)} needs '{missing}'", self.call.span)
        return [(name, item) for name, items in self.by_input.items() for item in items]

    def take(self, name: str, item: Given, result: Result) -> None:
        if isinstance(result, Failed):
            self.failed = result
        elif isinstance(result, Constant):
            self._error(
                "E0302",
                f"'{name.rstrip('*')}' of {spelling(self.op)} is a value of the model, "
                f"but this is {describe(result.value)}",
                item.span,
                label="not a value",
            )
        else:
            self.places.append((len(self.inputs), item.span))
            self.inputs.append(result.id)

    # ------------------------------------------------------------ settings

    def finish(self, to_constant: ToConstant) -> Bound | Failed:
        """Computes the settings and makes the op's `Attrs`."""
        found: dict[str, Any] = {}
        missing: list[str] = []
        for name, field in self.fields.items():
            if name in self.settings:
                item = self.settings[name]
                constant = to_constant(item, _words(field))
                if isinstance(constant, Failed):
                    self.failed = self.failed or constant
                    continue
                try:
                    found[name] = convert(constant.value, field)
                except Unfit as error:
                    message = f"'{name}' of {spelling(self.op)} {error}"
                    self._error(error.code, message, item.span, hint=error.hint)
            elif field.default is MISSING:
                missing.append(f"'{name}'")
            if name in self.settings:
                self.places.append((name, self.settings[name].span))
        if missing and self.failed is None:
            needs = f"{spelling(self.op)} needs {' and '.join(missing)}"
            self._error("E0204", needs, self.call.span)
        if self.failed is not None:
            return self.failed
        return Bound(tuple(self.inputs), self.op.Attrs(**found), tuple(self.places))


def _is_plain(item: Given) -> bool:
    """Whether an argument after any number of values is a setting: a literal is."""
    expression = item.expression
    while isinstance(expression, ast.Negative):
        expression = expression.operand
    return isinstance(expression, ast.Number | ast.String | ast.Boolean | ast.Tuple)


def _words(field: Field[Any]) -> frozenset[str]:
    if field.metadata["kind"] == "pad":
        return frozenset(("same", "causal"))
    return frozenset(field.metadata["words"])


# ---------------------------------------------------------------- kinds of settings


class Unfit(Exception):
    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def convert(value: Plain, field: Field[Any]) -> Any:
    """What the field holds for what was written; see `rules.setting` for the kinds."""
    about = field.metadata
    kind, rank = about["kind"], about["rank"]
    if kind == "size":
        return size(value)
    if kind == "sizes":
        return _several(value, rank, size)
    if kind == "integer":
        return _within(_integer(value), about)
    if kind == "number":
        return _within(_number(value), about)
    if kind == "interval":
        return _interval(value)
    if kind == "flag":
        return _expect(value, bool, "is true or false")
    if kind == "string":
        if isinstance(value, Word):
            raise Unfit("E0204", f'is a text in quotes: "{value}"')
        return _expect(value, str, "is a text in quotes")
    if kind == "word":
        return _word(value, about["words"])
    if kind == "pad":
        if isinstance(value, str):
            return _word(value, ("same", "causal"))
        return _several(value, rank, _not_negative)
    if kind == "axis":
        if isinstance(value, tuple):
            return tuple(_named_or_integer(item) for item in value)
        return _named_or_integer(value)
    assert kind == "shape", kind
    if not isinstance(value, tuple):
        raise Unfit("E0204", f"is a list of sizes such as [3, 4], not {describe(value)}")
    return tuple(_named_or_integer(item) for item in value)


def _interval(value: Plain) -> tuple[float, float]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise Unfit("E0204", f"is two numbers such as [-1, 1], not {describe(value)}")
    low, high = _number(value[0]), _number(value[1])
    if not low < high:
        raise Unfit("E0204", "has its lower end first, as in [-1, 1]")
    return low, high


def size(value: Plain) -> int:
    """A positive integer below the limit."""
    _fixed(value)
    if isinstance(value, bool) or not isinstance(value, int):
        code = "E0303" if isinstance(value, float) else "E0204"
        raise Unfit(code, f"is a positive integer, not {describe(value)}")
    if value < 1:
        raise Unfit("E0303", f"is a positive integer, not {describe(value)}")
    if value > limits.SIZE:
        raise Unfit("E0501", f"is {describe(value)}; the limit of a size is {limits.SIZE}")
    return value


def _fixed(value: Plain) -> None:
    """Refuses the name of a run-time size."""
    if isinstance(value, Word) and value not in WORDS:
        raise Unfit("E0304", f"is a fixed size, but '{value}' is known only at run time")


def _not_negative(value: Plain) -> int:
    found = _integer(value)
    if found < 0:
        raise Unfit("E0303", f"is not negative, but this is {found}")
    return found


def _several(value: Plain, rank: int, one: Callable[[Plain], int]) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        return (one(value),) * (rank or 1)
    if rank and len(value) != rank:
        raise Unfit("E0204", f"is one number or {rank} of them, not {len(value)}")
    if not value:
        raise Unfit("E0204", "is one number or a list of them, not an empty list")
    return tuple(one(item) for item in value)


def _named_or_integer(value: Plain) -> int | str:
    """An integer, or the name of a run-time size."""
    named = isinstance(value, Word) and value not in WORDS
    return str(value) if named else _integer(value)


def _integer(value: Plain) -> int:
    _fixed(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unfit("E0204", f"is an integer, not {describe(value)}")
    if abs(value) > limits.SIZE:
        raise Unfit("E0501", f"is {describe(value)}; the limit is {limits.SIZE}")
    return value


def _number(value: Plain) -> float:
    if not is_number(value):
        raise Unfit("E0204", f"is a number, not {describe(value)}")
    assert isinstance(value, int | float)
    return float(value)


def _within(value: Any, about: Any) -> Any:
    low, high = about["minimum"], about["maximum"]
    if low is not None and value < low:
        least = "is above 0" if 0 < low < 1e-9 else f"is {low:g} or more"
        raise Unfit("E0204", f"{least}, but this is {value:g}")
    if high is not None and value > high:
        raise Unfit("E0204", f"is at most {high:g}, but this is {value:g}")
    return value


def _expect(value: Plain, kind: type, words: str) -> Any:
    if not isinstance(value, kind):
        raise Unfit("E0204", f"{words}, not {describe(value)}")
    return value


def _word(value: Plain, words: Sequence[str]) -> str:
    if isinstance(value, str) and value in words:
        return str(value)
    listed = " or ".join(words)
    hint = nearest(value, words) if isinstance(value, str) else ""
    raise Unfit("E0204", f"is {listed}, not {describe(value)}", hint)
