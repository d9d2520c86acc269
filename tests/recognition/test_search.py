"""Searches find what trying every way finds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise, product
from pathlib import Path

import numpy as np
import pytest
from spoken import all_ways, best_way, odds_of, scores_of, spoken

from tiedgraph.diagnostics import DataError
from tiedgraph.ops.lattice import Chains, word_sum
from tiedgraph.recognition import arpa, strings
from tiedgraph.recognition.alignment import align, network
from tiedgraph.recognition.grammar import bigram, loop
from tiedgraph.recognition.strings import rows
from tiedgraph.recognition.strings import search as search_strings
from tiedgraph.recognition.tree import search, tree
from tiedgraph.recognition.vocabulary import IMPOSSIBLE, Moves, Vocabulary

CASES = {
    "plain": {"quiet": 0},
    "optional": {},
    "two": {"quiet": 2},
    "held": {"quiet": 2, "optional": False},
    "duration": {"states": 1, "duration": 2},
    "skips": {"states": 3, "skips": True},
    "skips held": {"states": 3, "skips": True, "duration": 2},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("steps", [4, 7])
def test_ways_are_those_that_the_model_was_trained_with(case: dict, steps: int) -> None:
    found, moves = spoken("word  a b\n", **case)
    chain, scores = found.chain, scores_of(found, steps)
    quiet = tuple(range(2 * chain.states, 2 * chain.states + chain.ends))
    inside = tuple(s for s in range(2 * chain.states) for _ in range(chain.duration))
    loose = len(quiet) if chain.optional else 0
    rows = ((*quiet, *inside, *quiet),)
    over = moves.over if chain.skips else 0
    trained = Chains(rows, (0,), (0.0,), 1, loose, chain.skips, over)
    wanted = word_sum(trained, [scores.T, odds_of(chain)], 0)
    each = [v for v, _ in all_ways(found, moves, [0], scores)]
    assert np.logaddexp.reduce([-np.inf, *each]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_shortest_recording_has_one_way(case: dict) -> None:
    found, moves = spoken(**case)
    for words in ([0], [1], [2, 3]):
        least, net = found.shortest(words), network(found, moves, words)
        assert align(net, scores_of(found, least)).way is not None
        assert align(net, scores_of(found, least - 1)).way is None


def test_words_of_too_many_pronunciations_are_refused() -> None:
    for count in (253, 254):
        variants = islice(product("ab", repeat=8), count)
        found, moves = spoken("".join(f"w  {' '.join(v)}\n" for v in variants) + "v  a b\n")
        if count == 253:  # the last of all is the one that is said
            net = network(found, moves, [0, 1])
            said = align(net, _loud(found, found.pronunciations[252].phones))
            assert said.way is not None
            heard = [net.positions[at].phone for at in said.way.tolist()[::2]]
            assert heard == [*found.pronunciations[252].phones, 0, 1]
            continue
        with pytest.raises(DataError, match="'w' has 254 pronunciations"):
            network(found, moves, [0, 1])


def _loud(found: Vocabulary, phones: Sequence[int]) -> np.ndarray:
    """Scores of these phonemes and then a and b, each state for one frame."""
    rows = [2 * phone + state for phone in (*phones, 0, 1) for state in (0, 1)]
    scores = np.full((len(rows), 5), -100.0)
    scores[np.arange(len(rows)), rows] = 0.0
    return scores


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_alignment_is_the_best_of_all_ways(case: dict, steps: int) -> None:
    found, moves = spoken(**case)
    scores = scores_of(found, steps)
    for words in ([0], [1], [2, 3], [3, 1], [3, 3, 3]):
        wanted, places = best_way(found, moves, words, scores)
        net = network(found, moves, words)
        answer = align(net, scores)
        assert answer.score == pytest.approx(wanted, abs=1e-12) or answer.score == wanted
        if answer.way is None:
            assert not places
        else:
            rows = moves.rows[[net.positions[s].place for s in answer.way]]
            assert (rows == moves.rows[places]).all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_without_a_beam_the_tree_is_exhaustive(case: dict, steps: int) -> None:
    found, moves = spoken(**case)
    scores = scores_of(found, steps, 1)
    best, _ = search(tree(found), found, moves, scores)
    for word in range(len(found.words)):
        wanted, _ = best_way(found, moves, [word], scores)
        assert best[word] == pytest.approx(wanted, abs=1e-12) or (
            best[word] < IMPOSSIBLE and wanted == -np.inf
        )


TOY = {
    "optional": {},
    "plain": {"quiet": 0, "states": 1},
    "held": {"optional": False, "states": 1},
    "skips": {"states": 3, "skips": True},
}


def every_string(
    found: Vocabulary, moves: Moves, scores: np.ndarray, language: dict, most: int
) -> list[tuple[float, tuple[int, ...]]]:
    """All strings of at most so many words, the best first. language: log probabilities of pairs of
    words, None the begin and the end."""
    answers = []
    for count in range(1, most + 1):
        for words in product(range(len(found.words)), repeat=count):
            acoustic, _ = best_way(found, moves, words, scores)
            pairs = pairwise([None, *words, None])
            answers.append((acoustic + sum(language.get(pair, 0.0) for pair in pairs), words))
    return sorted((item for item in answers if item[0] > -np.inf), reverse=True)


@pytest.mark.parametrize("case", TOY.values(), ids=TOY.keys())
def test_strings_of_a_loop_are_the_best_of_all(case: dict) -> None:
    found, moves = spoken("a  a\nb  b\na(2)  b b\n", **case)
    for steps in (1, 3, 4):
        scores = scores_of(found, steps, 3)
        penalty = dict.fromkeys(product((None, 0, 1), (0, 1)), -0.7)
        wanted = every_string(found, moves, scores, penalty, 4)
        for best in (1, 4):
            answer, _ = search_strings(rows(found), found, moves, loop(2, 0.7), scores, best)
            assert [item.words for item in answer] == [words for _, words in wanted[:best]]
            np.testing.assert_allclose(
                [item.score for item in answer], [v for v, _ in wanted[:best]], rtol=1e-12
            )


ARPA = r"""
\data\
ngram 1=5
ngram 2=4

\1-grams:
-99 <s> -0.4
-0.6 a -0.2
-0.9 b -0.1
-1.2 </s>
-1.0 other

\2-grams:
-0.3 <s> b
-0.4 b a
-2.5 a a
-0.2 a </s>

\end\
"""


@pytest.mark.parametrize("weight", [1.0, 8.0])
def test_strings_of_a_bigram_are_the_best_of_all(weight: float, tmp_path: Path) -> None:
    """Also where the weight of what is not named makes it likelier than what is."""
    (tmp_path / "two.arpa").write_text(ARPA)
    language = arpa.read(tmp_path / "two.arpa")
    ten = np.log(10)
    pairs = {
        (None, 0): -1.0, (None, 1): -0.3, (None, None): -1.6,
        (0, 0): -2.5, (0, 1): -1.1, (0, None): -0.2,
        (1, 0): -0.4, (1, 1): -1.0, (1, None): -1.3,
    }  # fmt: skip
    penalties = {pair: 0.0 if pair[1] is None else -0.5 for pair in pairs}
    weighted = {pair: weight * v * ten + penalties[pair] for pair, v in pairs.items()}
    for case in TOY.values():
        found, moves = spoken("a  a\nb  b\na(2)  b b\n", **case)
        rules = bigram(language, found.words, weight, 0.5)
        for steps in (2, 4):
            scores = scores_of(found, steps, 5)
            wanted = every_string(found, moves, scores, weighted, 4)
            answer, _ = search_strings(rows(found), found, moves, rules, scores, 5)
            assert [item.words for item in answer] == [words for _, words in wanted[:5]]
            np.testing.assert_allclose(
                [item.score for item in answer], [v for v, _ in wanted[:5]], rtol=1e-12
            )


def test_a_wide_beam_loses_nothing_and_a_narrow_one_work(monkeypatch: pytest.MonkeyPatch) -> None:
    found, moves = spoken(states=3)
    rules, every = loop(len(found.words)), rows(found)
    whole, narrow = 0, 0
    for seed in range(20):
        scores = scores_of(found, 40, seed)
        exact, work = search_strings(every, found, moves, rules, scores, 3)
        wide, _ = search_strings(every, found, moves, rules, scores, 3, beam=200.0)
        assert wide == exact
        close, less = search_strings(every, found, moves, rules, scores, 3, beam=6.0)
        assert not close or close[0].score <= exact[0].score
        whole, narrow = whole + work, narrow + less
        words, work = search(tree(found), found, moves, scores)
        pruned, less = search(tree(found), found, moves, scores, beam=200.0)
        assert (pruned[words > IMPOSSIBLE] == words[words > IMPOSSIBLE]).all()
        assert less <= work
        few, less = search(tree(found), found, moves, scores, most=3)
        assert (few <= words).all()
        assert less < work
    assert narrow < whole
    # Numbers of histories that do not fit at first are made room for.
    monkeypatch.setattr(strings, "HISTORIES", 4)
    assert search_strings(every, found, moves, rules, scores, 3)[0] == exact


def test_the_way_of_one_chain_is_that_of_hmmlearn() -> None:
    hmm = pytest.importorskip("hmmlearn.hmm")
    found, moves = spoken("word  a b c d\n", states=3, quiet=0)
    count = 12
    for seed in range(5):
        rng = np.random.default_rng(seed)
        means, x = rng.normal(size=(count, 4)), rng.normal(size=(60, 4)) * 1.5
        other = hmm.GaussianHMM(count + 1, covariance_type="diag", init_params="", params="")
        stay = np.exp(moves.held)
        other.startprob_ = np.eye(count + 1)[0]
        other.transmat_ = np.zeros((count + 1, count + 1))
        for s in range(count):
            other.transmat_[s, s], other.transmat_[s, s + 1] = stay[s], 1 - stay[s]
        other.transmat_[count, count] = 1.0
        # The way out is a last state, which only a frame far from all others fits.
        far = np.full((1, 4), 1e4)
        other.means_ = np.concatenate([means, far])
        other.covars_ = np.ones((count + 1, 4))
        _, wanted = other.decode(np.concatenate([x, far]), algorithm="viterbi")
        squares = ((x[:, None] - means) ** 2).sum(axis=2)
        scores = -0.5 * (squares + 4 * np.log(2 * np.pi))
        answer = align(network(found, moves, [0]), scores)
        assert answer.way is not None
        assert answer.way.tolist() == wanted[:-1].tolist()
