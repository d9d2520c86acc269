"""The parser: trees, places, several errors in one run, limits, and files that cannot be read."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lark import Lark, logger

from tiedgraph.diagnostics import Diagnostics, Source
from tiedgraph.render import render_text
from tiedgraph.syntax import ast
from tiedgraph.syntax.expected import FORMS
from tiedgraph.syntax.grammar import grammar_text
from tiedgraph.syntax.parser import DEPTH, parse, read_source
from tiedgraph.syntax.scan import (
    FILE_SIZE,
    MISTAKES,
    NESTING,
    STARTERS,
    TOKENS,
    Postlex,
    language,
)

CONTEXTUAL = ["hard", "soft", "shared", "across", "by", "weight", "from", "optional", "chain",
              "between"]  # fmt: skip


def read(text: str) -> tuple[ast.File | None, Diagnostics]:
    diagnostics = Diagnostics()
    return parse(Source("t.tie", text), diagnostics), diagnostics


def good(text: str) -> tuple[ast.Statement, ...]:
    file, diagnostics = read(text)
    assert render_text(diagnostics) == ""
    assert file is not None
    return file.statements


def one(text: str) -> ast.Statement:
    (statement,) = good(text)
    return statement


def shown(node: object) -> str:
    """A tree as S-expressions, short enough for a table."""
    if isinstance(node, tuple):
        return "(" + " ".join(map(shown, node)) + ")"
    if isinstance(node, ast.Number | ast.String | ast.Boolean):
        return repr(node.value)
    if isinstance(node, ast.Name):
        return ".".join(map(shown, node.path))
    if isinstance(node, ast.Selector):
        return "&" + ".".join(map(shown, node.parts))
    if isinstance(node, ast.Part):
        return node.name + "".join(map(shown, node.indices))
    if isinstance(node, ast.Index):
        return f"[{node.first},{node.last},{node.name}]"
    if isinstance(node, ast.Binary):
        return f"({node.operator} {shown(node.left)} {shown(node.right)})"
    if isinstance(node, ast.Node):
        fields = [shown(value) for name, value in vars(node).items() if name != "span"]
        return f"{type(node).__name__}({', '.join(fields)})"
    return repr(node)


EXPRESSIONS = [
    ("1", "1"),
    ("1.", "1.0"),
    (".5", "0.5"),
    ("2e3", "2000.0"),
    ("007", "7"),
    ("a + b * c", "(+ a (* b c))"),
    ("a - b - c", "(- (- a b) c)"),
    ("(a - b) / c", "(/ (- a b) c)"),
    ("-a * b", "(* Negative(a) b)"),
    ("a * -b", "(* a Negative(b))"),
    ("- -1", "Negative(Negative(1))"),
    ("[1, x, [2]]", "Tuple((1 x Tuple((2))))"),
    ("[]", "Tuple(())"),
    ("a[2].b", "a[2,2,None].b"),
    ("a[1..3][*][aa]", "a[1,3,None][None,None,None][None,None,aa]"),
    ('f(x, "t", n=2, b=true)', "Call('f', (x 't'), (Keyword('n', 2) Keyword('b', True)), None)"),
    ("x |> f", "Pipe(x, Call('f', (), (), None))"),
    ("x |> a: f(3) |> g", "Pipe(Pipe(x, Call('f', (3), (), 'a')), Call('g', (), (), None))"),
    ("a + b |> f", "Pipe((+ a b), Call('f', (), (), None))"),
    ("a + (b |> f)", "(+ a Pipe(b, Call('f', (), (), None)))"),
    ("f(\n  a,\n\n  b, # comment\n)", "Call('f', (a b), (), None)"),
    ('chain p by "w.dict" between s', "Chain('p', 'w.dict', 's')"),
    ('chain p by "w.dict"', "Chain('p', 'w.dict', None)"),
    ("chain + by", "(+ chain by)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tree"), EXPRESSIONS, ids=[text for text, _ in EXPRESSIONS])
def test_expressions(text: str, tree: str) -> None:
    statement = one(f"x = {text}")
    assert isinstance(statement, ast.Let)
    assert shown(statement.value) == tree


STATEMENTS = [
    ("model m", "Model('m')"),
    ('import "a/b.tie"', "Import('a/b.tie')"),
    ("const n = 3 + 1", "Const('n', (+ 3 1))"),
    ("input x: float", "Data('input', 'x', TypeExpression('float', (), None))"),
    ("input x: index[9, t]", "Data('input', 'x', TypeExpression('index', (9 t), None))"),
    ('target w: class from "d"', "Data('target', 'w', TypeExpression('class', (), 'd'))"),
    ("block f(a, n=4) { h = a; return h }",
     "Block('f', (Argument('a', None) Argument('n', 4)), (Let('h', a)), h)"),
    ("train { a = 1, b = 2\n c = 3 }",
     "Settings('train', (Setting('a', 1) Setting('b', 2) Setting('c', 3)))"),
    ("data {\n\n}", "Settings('data', ())"),
    ("tie hard a, b.w", "TieHard((&a &b.w), None, None)"),
    ("tie hard a = flip(t(b), axis=-1)",
     "TieHard((&a), ViewCall('flip', ViewCall('t', &b, (), ()), (), "
     "(Keyword('axis', Negative(1)))), None)"),
    ("tie hard a = b", "TieHard((&a), &b, None)"),
    ("tie hard *.w by hash(free=2)",
     "TieHard((&*.w), None, Call('hash', (), (Keyword('free', 2)), None))"),
    ("tie hard w by symmetric", "TieHard((&w), None, Call('symmetric', (), (), None))"),
    ("tie soft s = a, b { zero = 0.9 }", "TieSoft('s', (&a &b), (Setting('zero', 0.9)))"),
    ("tie shared a, b across t, u", "TieShared((&a &b), ('t' 'u'))"),
    ("task t { a = 1\n loss a }", "Task('t', (Let('a', 1) Loss(a, None)))"),
    ("output y = f(x)", "Output('y', Call('f', (x), (), None))"),
    ("loss a weight 0.5", "Loss(a, 0.5)"),
    ("loss weight weight weight", "Loss(weight, weight)"),
    ("metric a", "Metric(a)"),
    ("init a[*].w = normal(0, 1)",
     "Initialise(&a[None,None,None].w, Call('normal', (0 1), (), None))"),
    ("freeze a, *", "Freeze((&a &*))"),
    ('unit p from "d" optional { n = 3 }', "Unit('p', 'd', True, (Setting('n', 3)))"),
    ("unit p { n = 3 }", "Unit('p', None, False, (Setting('n', 3)))"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tree"), STATEMENTS, ids=[text for text, _ in STATEMENTS])
def test_statements(text: str, tree: str) -> None:
    assert shown(one(text)) == tree


@pytest.mark.parametrize("text", ["", "\n\n", "# only this", ";;", "\ufeff", " \t\r\n"])
def test_empty_files(text: str) -> None:
    assert good(text) == ()


def test_ends_of_lines() -> None:
    assert len(good("a = 1; b = 2;; c = 3\r\nd = 4\n;\ne = 5 # end")) == 5


def test_names_on_lines_of_their_own_in_brackets() -> None:
    assert good("a = b[\n    loss\n]") == good("a = b[loss]")
    assert good("a = b[\n    train  # comment\n]") == good("a = b[train]")
    assert good("a = (f\n(\nn=3))") == good("a = f(n=3)")
    assert good("a = f(\nloss=1,\nn=3\n)") == good("a = f(loss=1, n=3)")


def test_places() -> None:
    text = "# ü\nblock f(a) {\n    h = (a + b) * conv(a, 3)  # c\n    return h\n}\n"
    block = one(text)
    assert isinstance(block, ast.Block)
    assert block.span.text == text[text.index("block") : -1]
    (let,) = block.body
    assert isinstance(let, ast.Let)
    assert let.span.text == "h = (a + b) * conv(a, 3)"
    assert (let.span.line, let.span.column) == (3, 5)
    assert isinstance(let.value, ast.Binary)
    assert [let.value.left.span.text, let.value.right.span.text] == ["(a + b)", "conv(a, 3)"]
    assert block.result.span.text == "h"


def test_trees_compare_without_places() -> None:
    assert good("a = f( x )") == good("\n\na   = f(x,)")
    assert good("a = f(x)") != good("a = f(y)")


# ---------------------------------------------------------------- errors


def test_good_statements_survive_bad_ones() -> None:
    text = "a = 1\nb = = 2\nc = 3\nblock f(x) {\n h = x x\n return x\n}\nd = (4\ne = 5\nf g\n"
    file, diagnostics = read(text)
    assert [(item.code, item.span.line) for item in diagnostics if item.span] == [
        ("E0101", 2), ("E0101", 5), ("E0103", 8), ("E0101", 10),
    ]  # fmt: skip
    assert file is not None
    names = [statement.name for statement in file.statements if hasattr(statement, "name")]
    assert names == ["a", "c", "f", "d", "e"]


def test_errors_come_in_the_order_of_the_file() -> None:
    _, diagnostics = read("a = \nb = $\nc = (\nd = \n")
    lines = [item.span.line for item in diagnostics if item.span]
    assert lines == sorted(lines)
    assert len(set(lines)) == 4


def test_one_mistake_is_one_error() -> None:
    for text in ("a = 3 $ 4", "a = f(x]", "a = (b", "a = f(größe)", "f(x) = 3", "a = 'b'",
                 "train {\n  a = 3", "a = f(x))", "block f(x) {\n  return x"):  # fmt: skip
        _, diagnostics = read(text)
        assert len(diagnostics) == 1, (text, render_text(diagnostics))


def test_an_open_bracket_does_not_swallow_the_file() -> None:
    text = "a = conv2d(x, 6\nloss mse(a, b\ntrain { batch = (3 }\noutput y = a\nz = [1, 2\nw = 3\n"
    file, diagnostics = read(text)
    assert [item.span.line for item in diagnostics if item.span] == [1, 2, 3, 5]
    assert {item.code for item in diagnostics} == {"E0103"}
    assert file is not None
    assert len(file.statements) == 6


def test_names_that_are_words_elsewhere() -> None:
    for word in CONTEXTUAL:
        assert isinstance(one(f"{word} = {word} + {word}.{word}[2]"), ast.Let)
    for word in FORMS:
        assert isinstance(one(f"a = b.{word} + f({word}=1)"), ast.Let)
        _, diagnostics = read(f"a = 1\n{word} = 2")
        assert "is a word of the language" in render_text(diagnostics)
        _, diagnostics = read(f"const {word} = 2")
        assert "is a word of the language" in render_text(diagnostics)


def test_many_mistakes_end_the_reading() -> None:
    file, diagnostics = read("a = = 1\n" * 500)
    assert file is None
    assert len(diagnostics) == MISTAKES
    assert read("$ " * 500)[0] is None


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("# " + "x" * FILE_SIZE, "1 MiB"),
        ("# " + "ü" * (FILE_SIZE // 2 + 1), "1 MiB"),
        (";" * (TOKENS + 1), f"{TOKENS} words"),
        ("$" * (TOKENS + 1), f"{TOKENS} words"),
        ("a = " + "(" * (NESTING + 1) + "1" + ")" * (NESTING + 1), f"{NESTING} deep"),
        ("a = " + "[" * (NESTING + 1), f"{NESTING} deep"),
        ("task t {" * (NESTING + 1), f"{NESTING} deep"),
        ("a = b" + " + b" * DEPTH, f"{DEPTH} operators"),
        ("a = b" + " + b" * 10_000, f"{DEPTH} operators"),
        ("a = b" + " |> f" * 10_000, f"{DEPTH} operators"),
        ("a = " + "-" * 10_000 + "b", f"{DEPTH} operators"),
        ("block f(n=" + "-" * 10_000 + "1) { return n }", f"{DEPTH} operators"),
        ("x" * 201 + " = 1", "200 characters"),
    ],
    ids=lambda text: text[:12],
)
def test_limits(text: str, limit: str) -> None:
    _, diagnostics = read(text)
    assert [item.code for item in diagnostics if item.code != "E0102"] == ["E0501"]
    assert limit in render_text(diagnostics)


def test_just_below_the_limits() -> None:
    good("a = " + "(" * NESTING + "1" + ")" * NESTING)
    good("a = b" + " + b" * (DEPTH - 1))
    good("a = [" + "1," * 20_000 + "]")
    good("# " + "x" * (FILE_SIZE - 2))


@pytest.mark.parametrize("number", ["9" * 5000, "1e999", "1e-999", "0." + "0" * 400 + "1"])
def test_numbers_that_have_no_value(number: str) -> None:
    _, diagnostics = read(f"a = {number}")
    assert [item.code for item in diagnostics] == ["E0102"]


def test_numbers_at_the_edge() -> None:
    values = [s.value for s in good("a = 0e-999; b = 1e308; c = 5e-324") if isinstance(s, ast.Let)]
    assert [v.value for v in values if isinstance(v, ast.Number)] == [0.0, 1e308, 5e-324]


# ---------------------------------------------------------------- files


def test_read_source(tmp_path: Path) -> None:
    path = tmp_path / "a.tie"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\n# \xc3\xbc\n")
    diagnostics = Diagnostics()
    source = read_source(path, diagnostics)
    assert source is not None
    assert source.text == "a = 1\r\n# ü\n"
    assert source.path == str(path)
    assert not len(diagnostics)


def unreadable(folder: Path) -> list[tuple[Path | str, str, str]]:
    (folder / "latin.tie").write_bytes(b"# ok\n# gr\xf6\xdfe\n")
    (folder / "wide.tie").write_bytes("a = 1".encode("utf-16"))
    (folder / "large.tie").write_bytes(b"#" * (FILE_SIZE + 1))
    os.mkfifo(folder / "pipe.tie")
    return [
        (folder / "absent.tie", "E0502", "no such file"),
        (folder, "E0502", "not an ordinary file"),
        (folder / "pipe.tie", "E0502", "not an ordinary file"),
        ("a\0.tie", "E0502", "cannot be read"),
        ("x" * 5000, "E0502", "cannot be read"),
        (folder / "latin.tie", "E0502", "byte 0xf6 at line 2, byte 5"),
        (folder / "wide.tie", "E0502", "not UTF-8"),
        (folder / "large.tie", "E0501", "1 MiB"),
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, code, words in unreadable(tmp_path):
        diagnostics = Diagnostics()
        assert read_source(path, diagnostics) is None
        assert [item.code for item in diagnostics] == [code], path
        assert words in render_text(diagnostics)


# ---------------------------------------------------------------- the grammar


def test_every_word_of_the_grammar_is_described() -> None:
    assert {word.upper() for word in FORMS} == STARTERS
    for word, form in FORMS.items():
        assert form.startswith(word)
        if "..." not in form and "NAME" not in form and word != "return":
            good(form)


def test_the_grammar_is_found() -> None:
    assert "file: statements" in grammar_text()
    assert language() is language()


def conflicts(grammar: str) -> list[str]:
    """Where lark prefers a shift to a reduction, which it only logs; two reductions it refuses."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    level, others = logger.level, list(logger.handlers)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.DEBUG)
    try:
        Lark(grammar, start="file", parser="lalr", lexer="basic", debug=True, postlex=Postlex(),
             keep_all_tokens=True)  # fmt: skip
    finally:
        logger.handlers[:] = others
        logger.setLevel(level)
    return [r.getMessage() for r in records if "onflict" in r.getMessage()]


def test_the_grammar_has_no_conflicts() -> None:
    assert not conflicts(grammar_text())
    ambiguous = grammar_text()
    assert conflicts(ambiguous.replace('"-" unary -> negative', '"-" sum -> negative'))


def test_the_deepest_trees_can_be_walked_recursively() -> None:
    for text in (
        "a = b" + " + b" * (DEPTH - 1),
        "a = " + "f(" * (NESTING - 1) + "b" + ")" * (NESTING - 1),
        "a = " + "-" * (DEPTH - 1) + "b",
        "a = " + "(b + " * NESTING + "c" + ")" * NESTING,
    ):
        file = good(text)
        assert file == good(f"{text}  ")
        assert hash(file) == hash(good(text))
        assert repr(file)


def test_several_threads_may_parse_at_once() -> None:
    text = "\n".join(f"a{i} = f(b, [1, 2], c=g(d)) |> e: h(3)" for i in range(50))
    expected = good(text)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(good, [text] * 32):
            assert found == expected
