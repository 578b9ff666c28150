"""Sentences of a small probabilistic grammar, of which the best possible perplexity is known.

They have what language models are asked for in little: words of very different frequency (Zipf:
the r-th of a class is 1/r as likely as its first), verbs that agree in number with their subject,
and clauses nested between the two, so that a number must be remembered over other nouns and verbs.
"""

import math
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, product
from typing import NamedTuple

import numpy as np
from numpy.random import default_rng

END = "<eos>"  # of a line
NUMBERS = ("singular", "plural")


class Rule(NamedTuple):
    """What a symbol may become: a word of a class, or none, and then further symbols."""

    probability: float
    words: str | None
    symbols: tuple[str, ...] = ()


class Grammar:
    """A grammar whose every rule shows in the next word, so that a text tells how it was made.

    Then the probability of a word behind all words before it is that of the rules chosen since the
    last one, and no model can do better than what chose them.
    """

    def __init__(
        self, start: str, rules: Mapping[str, Sequence[Rule]], words: Mapping[str, Sequence[str]]
    ) -> None:
        self.start, self.rules, self.words = start, rules, words

    def text(self, num_words: int, seed: int | Sequence[int]) -> list[list[str]]:
        """Sentences of at least so many words in all, `<eos>` behind each and among them."""
        random = _uniform(seed)
        sentences, count = [], 0
        while count < num_words:
            sentences.append([word for word, _ in self.sentence(random)])
            count += len(sentences[-1])
        return sentences

    def sentence(self, random: Iterator[float]) -> Iterator[tuple[str, float]]:
        """Each word of a sentence, and -log of its probability behind those before it, in nats."""
        symbols, surprise = [self.start], 0.0
        while symbols:
            rules, bounds = self._choices[symbols.pop()]
            chosen = rules[bisect(bounds, next(random))]
            surprise -= math.log(chosen.probability)
            symbols += reversed(chosen.symbols)
            if chosen.words is not None:
                words, bounds, surprises = self._classes[chosen.words]
                number = bisect(bounds, next(random))
                yield words[number], surprise + surprises[number]
                surprise = 0.0
        yield END, surprise

    def perplexity(self) -> float:
        """Exp of the entropy of a word behind all others, in the mean over an endless text.

        Both a sentence's entropy and its length are sums over its expected symbols.
        """
        names = [*self.rules]
        become = np.zeros((len(names), len(names)))  # how many of each a symbol becomes, expected
        entropy, length = np.zeros(len(names)), np.zeros(len(names))
        for i, name in enumerate(names):
            for probability, words, symbols in self.rules[name]:
                entropy[i] -= probability * math.log(probability)
                if words is not None:
                    shares = _zipf(len(self.words[words]))
                    entropy[i] -= probability * float(shares @ np.log(shares))
                    length[i] += probability
                for symbol in symbols:
                    become[i, names.index(symbol)] += probability
        expected = np.linalg.inv(np.eye(len(names)) - become)[names.index(self.start)]
        return math.exp(expected @ entropy / (expected @ length + 1))  # <eos> tells nothing itself

    @cached_property
    def _choices(self) -> dict[str, tuple[Sequence[Rule], list[float]]]:
        return {
            name: (rules, [*accumulate(rule.probability for rule in rules)][:-1])
            for name, rules in self.rules.items()
        }

    @cached_property
    def _classes(self) -> dict[str, tuple[Sequence[str], list[float], list[float]]]:
        shares = {name: _zipf(len(words)) for name, words in self.words.items()}
        return {
            name: (words, shares[name].cumsum()[:-1].tolist(), (-np.log(shares[name])).tolist())
            for name, words in self.words.items()
        }


def _zipf(size: int) -> np.ndarray:
    weights = 1 / np.arange(1, size + 1)
    return weights / weights.sum()


def _uniform(seed: int | Sequence[int]) -> Iterator[float]:
    random = default_rng(seed)
    while True:
        yield from random.random(4096).tolist()


def _english() -> Grammar:
    """Noun phrases, verbs and clauses as in: the old dogs that a man sees run.

    After `the` the noun tells the number, after the other two determiners they do. Every noun may
    have a clause, in which it is what acts or what is acted upon. A sentence has 5.2 words.
    """
    rules: dict[str, tuple[Rule, ...]] = {}
    for then in ("predicate", "transitive", "nothing"):  # what follows on a noun and its clause
        rules[f"phrase, {then}"] = (
            Rule(0.5, "the", (f"any, {then}",)),
            Rule(0.25, "a", (f"one, {then}",)),
            Rule(0.25, "many", (f"more, {then}",)),
        )
        ends = {n: () if then == "nothing" else (f"{then}, {n}",) for n in NUMBERS}
        for asked, numbers in {"any": NUMBERS, "one": NUMBERS[:1], "more": NUMBERS[1:]}.items():
            rules[f"{asked}, {then}"] = (
                Rule(0.2, "adjective", (f"{asked}, {then}",)),
                *(Rule(0.8 / len(numbers), f"noun, {n}", (f"clause, {n}", *ends[n]))
                  for n in numbers),
            )  # fmt: skip
    for n in NUMBERS:
        rules[f"clause, {n}"] = (Rule(0.7, None), Rule(0.3, "that", (f"relative, {n}",)))
        rules[f"relative, {n}"] = (
            Rule(0.5, None, (f"predicate, {n}",)),
            Rule(0.5, None, ("phrase, transitive",)),
        )
        rules[f"transitive, {n}"] = (Rule(1.0, f"transitive, {n}"),)
        rules[f"predicate, {n}"] = (
            Rule(0.5, f"intransitive, {n}"),
            Rule(0.5, f"transitive, {n}", ("phrase, nothing",)),
        )
    stems = _stems()
    nouns, transitive, intransitive, adjectives = (
        [next(stems) for _ in range(count)] for count in (300, 100, 100, 60)
    )
    words = {name: [name] for name in ("the", "a", "many", "that")} | {
        "adjective": [stem + "sh" for stem in adjectives],
        "noun, singular": nouns,
        "noun, plural": [stem + "s" for stem in nouns],
        "transitive, singular": [stem + "ts" for stem in transitive],
        "transitive, plural": [stem + "t" for stem in transitive],
        "intransitive, singular": [stem + "ts" for stem in intransitive],
        "intransitive, plural": [stem + "t" for stem in intransitive],
    }
    return Grammar("phrase, predicate", rules, words)


def _stems() -> Iterator[str]:
    syllables = ["".join(pair) for pair in product("bdfgklmnprstvz", "aeiou")]
    return map("".join, product(syllables, syllables))


GRAMMAR = _english()
