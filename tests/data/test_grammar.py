"""The grammar: what it makes is grammatical, and its perplexity is the one it states."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from mmrep.data.grammar import GRAMMAR, Grammar, Rule

STOP = 0.3


def uniform(seed: int) -> Iterator[float]:
    random = np.random.default_rng(seed)
    while True:
        yield float(random.random())


def brackets() -> Grammar:
    """As many opening brackets as closing ones: one pair more has the probability 1 - STOP."""
    rules = {
        "pairs": (Rule(STOP, None), Rule(1 - STOP, "open", ("pairs", "closing"))),
        "closing": (Rule(1.0, "close"),),
    }
    return Grammar("pairs", rules, {"open": ["("], "close": [")"]})


def test_a_known_grammar_has_the_perplexity_of_its_closed_form() -> None:
    entropy = -math.log(STOP) - (1 - STOP) / STOP * math.log(1 - STOP)  # of a geometric number
    length = 2 * (1 - STOP) / STOP + 1
    assert brackets().perplexity() == pytest.approx(math.exp(entropy / length), rel=1e-12)


def test_words_are_as_surprising_as_their_sentence_is_improbable() -> None:
    random = uniform(0)
    for _ in range(100):
        told = list(brackets().sentence(random))
        pairs = len(told) // 2
        assert [word for word, _ in told] == ["("] * pairs + [")"] * pairs + ["<eos>"]
        surprise = math.fsum(one for _, one in told)
        assert surprise == pytest.approx(-math.log(STOP * (1 - STOP) ** pairs), rel=1e-12)
        assert all(one == 0 for _, one in told[pairs + 1 :])  # the rest follows from what was said


def test_words_follow_zipf_and_no_others() -> None:
    classes = {"noun": ["a", "b", "c", "d"]}
    grammar = Grammar("one", {"one": (Rule(1.0, "noun"),)}, classes)
    counts = Counter(word for line in grammar.text(50_000, 0) for word in line)
    shares = np.array([counts[word] for word in "abcd"]) / counts["<eos>"]
    assert shares == pytest.approx(np.array([12, 6, 4, 3]) / 25, abs=0.01)  # 1, 1/2, 1/3, 1/4
    entropy = -sum(p / 25 * math.log(p / 25) for p in (12, 6, 4, 3))
    assert grammar.perplexity() == pytest.approx(math.exp(entropy / 2), rel=1e-12)


def test_the_perplexity_is_that_of_its_sentences() -> None:
    random = uniform(1)
    told = [list(GRAMMAR.sentence(random)) for _ in range(8000)]
    surprise = np.array([sum(one for _, one in sentence) for sentence in told])
    length = np.array([len(sentence) for sentence in told])
    expected = math.log(GRAMMAR.perplexity())
    excess = surprise - expected * length  # 0 in the mean
    assert abs(excess.mean()) < 4 * excess.std() / math.sqrt(len(told))
    assert excess.std() / math.sqrt(len(told)) / length.mean() < 0.01  # sharp enough to tell


class Reader:
    """Reads a sentence by recursive descent, and fails where it is not grammatical."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.depth, self.deepest = [*reversed(words)], 0, 0

    def sentence(self) -> None:
        self.predicate(self.phrase())
        assert self.words == ["<eos>"]

    def phrase(self) -> bool:
        """Whether the noun is plural."""
        asked = self.words.pop()
        assert asked in ("the", "a", "many")
        while self.words[-1].endswith("sh"):
            self.words.pop()
        noun = self.words.pop()
        plural = noun.endswith("s")
        assert noun in GRAMMAR.words["noun, plural" if plural else "noun, singular"]
        assert asked == "the" or plural is (asked == "many")
        if self.words[-1] == "that":
            self.words.pop()
            self.clause(plural)
        return plural

    def clause(self, plural: bool) -> None:
        self.depth += 1
        self.deepest = max(self.deepest, self.depth)
        if self.words[-1] in ("the", "a", "many"):
            self.verb(self.phrase(), "transitive")  # what the noun undergoes
        else:
            self.predicate(plural)
        self.depth -= 1

    def predicate(self, plural: bool) -> None:
        if self.verb(plural, "transitive", "intransitive") == "transitive":
            self.phrase()

    def verb(self, plural: bool, *kinds: str) -> str:
        number, word = "plural" if plural else "singular", self.words.pop()
        (kind,) = (kind for kind in kinds if word in GRAMMAR.words[f"{kind}, {number}"])
        return kind


def test_sentences_are_grammatical_and_nested() -> None:
    deepest = Counter[int]()
    for words in GRAMMAR.text(20_000, 2):
        reader = Reader(words)
        reader.sentence()
        deepest[reader.deepest] += 1
    assert min(deepest[depth] for depth in range(4)) > 0


def test_words_tell_their_class() -> None:
    counts = Counter(word for words in GRAMMAR.words.values() for word in words)
    assert max(counts.values()) == 1


def test_a_text_follows_from_its_seed() -> None:
    assert GRAMMAR.text(500, (0, 1)) == GRAMMAR.text(500, (0, 1))
    assert GRAMMAR.text(500, (0, 0)) != GRAMMAR.text(500, (0, 1))
    assert sum(map(len, GRAMMAR.text(500, 0))) >= 500
    assert all(line[-1] == "<eos>" for line in GRAMMAR.text(500, 0))
