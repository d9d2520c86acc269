"""What to say about a token that cannot stand where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiedgraph.diagnostics import nearest
from tiedgraph.syntax.scan import STARTERS, Token

# How each statement is written, by the word that it starts with.
FORMS = {
    "model": "model NAME",
    "import": 'import "blocks.tie"',
    "const": "const N = 12",
    "input": "input image: float[1, 28, 28]",
    "target": "target label: class[10]",
    "block": "block NAME(a, n=4) { ... return EXPRESSION }",
    "return": "return EXPRESSION",
    "tie": "tie hard a.weight, b.weight",
    "task": "task NAME { ... }",
    "output": "output NAME = EXPRESSION",
    "loss": "loss mse(prediction, wanted)",
    "metric": "metric accuracy(logits, label)",
    "init": "init a.weight = normal(0, 0.1)",
    "freeze": "freeze a.weight",
    "train": "train { batch = 64, epochs = 10 }",
    "data": 'data { train = "digits.npz" }',
    "unit": 'unit phone from "words.dict" { states = 3 }',
}
_TIES = {
    "hard": "tie hard a.weight, b.weight, or tie hard a.weight = transpose(b.weight), "
    "or tie hard a.weight by symmetric",
    "soft": "tie soft NAME = a.weight, b.weight { components = 17 }",
    "shared": "tie shared h across first_task, second_task",
}
# In the order in which they are listed.
_SIGNS = {
    "EQUAL": "`=`", "COLON": "`:`", "COMMA": "`,`", "STRING": "a text in double quotes",
    "INT": "a whole number", "RPAR": "`)`", "LBRACE": "`{`", "RBRACE": "`}`", "PIPE": "`|>`",
    "LPAR": "`(`", "RANGE": "`..`", "STAR": "`*`", "LSQB": "`[`", "RSQB": "`]`", "DOT": "`.`",
    "END": "the end of the line",
}  # fmt: skip
_NO_LOOPS = "a model has no conditions and no loops; repeats are written repeat(x, 6, block)"
# Words of other languages at the start of a line.
_ELSEWHERE = {
    "for": _NO_LOOPS,
    "while": _NO_LOOPS,
    "if": _NO_LOOPS,
    "let": "values are written NAME = EXPRESSION",
    "var": "values are written NAME = EXPRESSION",
    "def": f"blocks are written {FORMS['block']}",
    "function": f"blocks are written {FORMS['block']}",
    "class": f"blocks are written {FORMS['block']}",
    "from": f"imports are written {FORMS['import']}",
}
_OPERATORS = frozenset({"PLUS", "MINUS", "STAR", "SLASH", "PIPE", "DOT", "LSQB", "LPAR"})


@dataclass(frozen=True)
class Finding:
    """The words of a diagnostic; `at` where the place is not the token that does not fit."""

    message: str
    label: str = ""
    hint: str = ""
    at: Token | None = None


def explain(
    before: Sequence[Token], found: Token, accepted: set[str], closed: bool = False
) -> Finding:
    """The words for a syntax error.

    before: tokens of the same statement that were read; found: the one that does not fit.
    accepted: terminals that could have stood in its place.
    closed: whether `found` stands directly behind a `}`.
    """
    word = found.type.isalpha() and found.text.isidentifier()
    if closed:
        return Finding(
            f"expected the end of the line after `}}`, found {_shown(found)}",
            "not expected here",
            "start a new line, or put `;` between statements",
        )
    if not before:
        return _start(found)
    first, last = before[0], before[-1]
    if found.type in STARTERS and "NAME" in accepted and found.text:
        return Finding(
            f"`{found.text}` is a word of the language and cannot be a name",
            "reserved",
            f"choose another name, such as {found.text}_1; "
            f"the statement is written {FORMS[found.text]}",
        )
    if len(before) == 1 and first.type in STARTERS and found.type == "EQUAL":
        return Finding(
            f"`{first.text}` is a word of the language and cannot be a name",
            "starts a statement",
            f"write {FORMS[first.text]}; or choose another name",
            first,
        )
    if len(before) == 1 and first.type not in STARTERS and "EQUAL" in accepted:
        return _unfinished(first, found, word)
    return Finding(
        f"expected {_expected(before, accepted)} after {_shown(last)}, found {_shown(found)}",
        "not expected here",
        _hint(before, found, accepted),
    )


def _start(found: Token) -> Finding:
    if found.type == "PIPE":
        return Finding(
            "a line starts with `|>`",
            "nothing stands before it",
            "the statement ended with the line before; to go on over several lines, put the "
            "expression in parentheses: h = (x |> a: dense(8))",
        )
    return Finding(
        f"a statement cannot start with {_shown(found)}",
        "not the start of a statement",
        "values are written NAME = EXPRESSION",
    )


def _unfinished(first: Token, found: Token, word: bool) -> Finding:
    """A line that starts with a name and does not go on with `=`."""
    if first.text in _ELSEWHERE:
        return Finding(f"there is no statement `{first.text}`", "", _ELSEWHERE[first.text], first)
    meant = nearest(first.text, FORMS)
    if meant and word:
        return Finding(f"there is no statement `{first.text}`", "", meant, first)
    if found.type == "LPAR":
        hint = f"give its value a name: h = {first.text}(...)"
        return Finding("a call by itself does nothing", "expected `=` before it", hint)
    if found.type in ("DOT", "LSQB"):
        hint = "parameters are set by `init` and shared by `tie`; values have plain names"
        return Finding(f"only a plain name can be defined, not one with {_shown(found)}", "", hint)
    if found.type == "COLON":
        hint = f"write input {first.text}: float[...], or target {first.text}: class[...]"
        return Finding("a declaration starts with `input` or `target`", "", hint)
    hint = f"values are written {first.text} = EXPRESSION"
    if found.type == "COMMA":
        hint = "each statement defines one value: put the names on lines of their own"
    elif found.type in ("PLUS", "MINUS", "STAR", "SLASH"):
        hint = "a value never changes; give the new one a name of its own"
    elif word:
        hint = f"statements start with {', '.join(FORMS)}"
    return Finding(f"expected `=` after `{first.text[:40]}`, found {_shown(found)}", "", hint)


def _expected(before: Sequence[Token], accepted: set[str]) -> str:
    """The accepted terminals in the words of the language."""
    last = before[-1]
    rest = accepted - {"$END"}
    phrases: list[str] = []
    if last.type == "COLON" and before[0].type in ("INPUT", "TARGET"):
        return "a type such as float[12]"
    if last.type in ("PIPE", "COLON"):
        return "a layer or function"
    if "FLOAT" in rest:
        phrases, rest = ["an expression"], rest & {"RPAR", "RSQB"}
    elif "NAME" in rest:
        phrases, rest = ["a name"], rest & {"INT", "STRING", "STAR", "RPAR", "RBRACE"}
    elif "PLUS" in rest:
        phrases, rest = ["an operator"], rest - _OPERATORS - {"PLUS", "EQUAL"}
    elif len(rest) > 2:
        rest = rest - {"DOT", "LSQB"}
    phrases += [f"`{item.lower()}`" for item in sorted(rest) if item not in _SIGNS]
    phrases += [words for item, words in _SIGNS.items() if item in rest]
    if len(phrases) > 1:
        return f"{', '.join(phrases[:-1])} or {phrases[-1]}"
    return phrases[0] if phrases else "something else"


def _shown(token: Token) -> str:
    text = token.text
    if token.type == "END" and text != ";":
        return "the end of the line"
    if not text:
        return "the end of the text" if token.type == "END" else _SIGNS.get(token.type, "the end")
    if token.type == "STRING":
        return "a text" if len(text) > 30 else text
    return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}...`"


def _hint(before: Sequence[Token], found: Token, accepted: set[str]) -> str:
    first, last = before[0], before[-1]
    if found.type == "EQUAL" and last.type == "EQUAL":
        return "values are not compared; one `=` gives a value a name"
    if found.type == "STAR" and last.type == "STAR":
        return "powers are functions: square(x), sqrt(x)"
    if found.type == "SLASH" and last.type == "SLASH":
        return "comments start with #"
    if last.type == "RPAR" and found.type in _OPERATORS and "PIPE" in accepted:
        return "a pipeline goes in parentheses inside arithmetic: x + (h |> tanh)"
    if found.type == "END" and "LBRACE" in accepted and "END" not in accepted:
        return "`{` stands on the same line"
    if found.type == "COLON" and "RANGE" in accepted:
        return "ranges are written [1..3], both ends included"
    if found.type == "LBRACE" and "LSQB" in accepted:
        return "lists are written [1, 2]"
    if last.type == "PIPE" or (last.type == "COLON" and before[0].type not in STARTERS):
        return "a value is handed to a layer or function: x |> tanh, x |> a: dense(8)"
    if found.text in ("and", "or", "not", "if", "else", "for", "in"):
        return _NO_LOOPS
    if found.type in STARTERS and "END" in accepted:
        return "start a new line, or put `;` between statements"
    if "COMMA" in accepted and _starts_operand(found):
        return "put `,` between the two"
    if first.type == "TIE":
        return "write " + (_TIES[before[1].text] if len(before) > 1 else "; ".join(_TIES.values()))
    if first.type in STARTERS:
        return f"write {FORMS[first.text]}"
    name = last if accepted == {"EQUAL"} else first
    return f"write {name.text[:40]} = EXPRESSION, such as a + b, f(x, 8) or x |> f(8)"


def _starts_operand(token: Token) -> bool:
    return token.text.isidentifier() or token.type in ("INT", "FLOAT", "STRING")
