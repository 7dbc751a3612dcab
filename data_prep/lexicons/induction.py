"""Induction: a bilingual lexicon out of parallel questions.

Words are aligned (`alignment.py`), phrase pairs consistent with the alignment are counted (Och and
Ney 2004; Koehn, Och and Marcu 2003), scored, and the best are kept. Numbers, number words and names
are no part of any phrase, since code-switching leaves them alone.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np

from data_prep.code_switch import NUMBER_WORDS
from data_prep.lexicons import alignment
from data_prep.lexicons.bitext import Bools, Ints, Side, read_bitext
from data_prep.lexicons.lexicon import WORD, Entry, Lexicon, build_lexicon, word_key
from data_prep.lexicons.phrase_pairs import PhrasePairs, phrase_pairs, windows
from data_prep.names import all_names
from data_prep.problems import Problem
from data_prep.quality import number_words
from data_prep.quality.numbers import readings
from xcot_jax.errors import InputError
from xcot_jax.settings import InductionSettings, Settings

DISCOUNT = 1.0  # Taken off every count: what is seen once may be chance.


@dataclasses.dataclass(frozen=True)
class Induced:
    """The lexicon of a language pair.

    Attributes:
      entries: phrase by phrase, each with its best translation first.
      left_out: reason -> questions, phrase pairs or phrases that were left out for it.
    """

    entries: tuple[Entry, ...]
    left_out: Mapping[str, int]


def induce(
    problems: Iterable[Problem], source: str, target: str, settings: InductionSettings
) -> Induced:
    """Induces the lexicon of one language pair.

    A phrase pair's score is the geometric mean of p(target | source) and p(source | target), where
    each count is discounted.
    """
    left_out: Counter[str] = Counter()
    left, right = read_bitext(_texts(problems, source, target, settings), source, target, left_out)
    if not len(left.words):
        return Induced((), left_out)
    links = alignment.links(
        left.words, left.lengths, right.words, right.lengths, settings.iterations
    )
    pairs = _phrase_pairs(left, right, links, settings.longest_phrase)
    size = int(pairs.target_phrase.max(initial=0)) + 1
    _, index, pair, count = np.unique(
        pairs.source_phrase * size + pairs.target_phrase,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    score = np.maximum(count - DISCOUNT, 0) / np.sqrt(
        pairs.source_count[index] * pairs.target_count[index]
    )
    rare, unsure = count < settings.min_count, score < settings.min_score
    left_out["induction: phrase pair aligned too seldom"] += int(rare.sum())
    left_out["induction: phrase pair with too low a score"] += int((unsure & ~rare).sum())
    kept = np.nonzero(~rare & ~unsure)[0]
    places = _grouped(pair, kept)
    forms = right.forms()
    found: dict[str, list[Entry]] = defaultdict(list)
    for at in kept[np.lexsort((kept, -score[kept]))].tolist():
        phrase = word_key(left.written(*pairs.source[:, index[at]].tolist()))
        written = Counter(_written(right, forms, *pairs.target[:, p].tolist()) for p in places[at])
        best = max(written.items(), key=lambda item: (item[1], item[0]))[0]
        entry = Entry(source, target, phrase, best, round(float(score[at]), 4))
        if _adds_number(entry, left, pairs, places[at]):
            left_out["induction: phrase pair whose translation adds a number"] += 1
        else:
            found[phrase].append(entry)
    entries: list[Entry] = []
    for phrase in sorted(found):
        entries += _chosen(found[phrase], settings.candidates, left_out)
    return Induced(tuple(entries), left_out)


def induced_lexicon(settings: Settings, problems: Iterable[Problem]) -> Lexicon:
    """Induces a lexicon from the problems, out of each language that is code-switched.

    Args:
      settings: the run.
      problems: the training problems; gone through once for each language pair.

    Raises:
      InputError: if no phrase pair is found.
    """
    prep = settings.prep
    sources = prep.induction.sources or prep.xicl.sources or settings.high_resource[:1]
    entries: list[Entry] = []
    left_out: Counter[str] = Counter()
    names = all_names(problems)
    pairs = [(s, target) for s in sources for target in prep.languages if target != s]
    for source, target in pairs:
        found = induce(problems, source, target, prep.induction)
        left_out.update(found.left_out)
        for entry in found.entries:
            reason = _unfit(entry, names)
            left_out[reason] += bool(reason)
            if not reason:
                entries.append(entry)
    del left_out[""]
    if not entries:
        raise InputError(
            'prep.xicl.lexicon has "induced", but nothing can be induced for '
            f"{', '.join(map('-'.join, pairs)) or 'no language pair'}: too few problems have both "
            f"languages ({dict(left_out)}); lower prep.induction.min_count or name a lexicon file"
        )
    origin = f" ({prep.provenance})" if prep.provenance else ""
    return build_lexicon(
        entries, f"induced from the training problems{origin} by word alignment", left_out
    )


def _texts(
    problems: Iterable[Problem], source: str, target: str, settings: InductionSettings
) -> list[tuple[str, str]]:
    """The questions that have both languages; evenly spread over all if there are too many."""
    found = [
        (problem.question[source], problem.question[target])
        for problem in problems
        if source in problem.question and target in problem.question
    ]
    most = min(settings.problems or len(found), len(found))
    return [found[at * len(found) // most] for at in range(most)]


def _phrase_pairs(left: Side, right: Side, links: tuple[Ints, Ints], longest: int) -> PhrasePairs:
    """The phrase pairs of a bitext, without numbers and names."""
    ours, theirs = links
    counted = left.measures()[left.words[ours]] | right.measures()[right.words[theirs]]
    ours, theirs = ours[~counted], theirs[~counted]
    numbers = left.numbers()[left.words], right.numbers()[right.words]
    spelt = _spelt_numbers(left)[left.words]
    # A phrase of a text begins and ends with written words; its translation need not.
    return phrase_pairs(
        windows(left, numbers[0] | spelt | left.names(), ours, theirs, longest, whole=True),
        windows(right, numbers[1] | right.names(), theirs, ours, longest, whole=False),
    )


def _unfit(entry: Entry, names: frozenset[str]) -> str:
    """Why code-switching must not use an entry, in words; empty if it may."""
    ones = {Fraction(1)} if entry.source in NUMBER_WORDS else set()  # "a", "one time"
    if number_words.values(entry.phrase, entry.source, readings) - ones:
        return "induction: phrase that may speak of a number, such as twice"
    if not names.isdisjoint((*WORD.findall(entry.phrase), *WORD.findall(entry.translation))):
        return "induction: phrase pair with a name"
    return ""


def _spelt_numbers(side: Side) -> Bools:
    """Of each word of the vocabulary: whether it may be a number of 2 or more.

    This also rules out words that only look like numbers ("Achterbahn"); English has its own list.
    """
    if side.code in NUMBER_WORDS:
        return np.zeros(len(side.vocabulary), bool)
    return np.array([bool(_values(word, side.code)) for word in side.vocabulary], bool)


def _values(text: str, code: str) -> set[Fraction]:
    """The numbers above 1 that a text may speak of; a word for 1 may be an article."""
    return {value for value in number_words.values(text, code, readings) if value > 1}


def _adds_number(entry: Entry, source: Side, pairs: PhrasePairs, places: list[int]) -> bool:
    """Whether a translation has taken in a number that stands elsewhere in the source's sentence.

    So has "trois fois" as "times", but not "triangle", though it may be read as a three.
    """
    own = number_words.values(entry.phrase, entry.source, readings)
    own |= {1 / value for value in own if value}  # A quarter is one of four.
    more = _values(entry.translation, entry.target)
    if not more or more & own:
        return False
    texts = [source.texts[source.text[pairs.source[0, place]]] for place in places]
    taken = sum(bool(more & _values(text, entry.source)) for text in texts)
    return 2 * taken > len(texts)


def _grouped(pair: Ints, kept: Ints) -> dict[int, list[int]]:
    """The places of each phrase pair that is kept."""
    found: dict[int, list[int]] = {at: [] for at in kept.tolist()}
    for place in np.nonzero(np.isin(pair, kept))[0].tolist():
        found[int(pair[place])].append(place)
    return found


def _written(side: Side, forms: list[str], first: int, last: int) -> str:
    """A phrase as it is written inside a sentence."""
    if not side.initial[first]:
        return side.written(first, last)
    return forms[side.words[first]] + side.written(first, last)[len(side.written(first, first)) :]


def _chosen(entries: list[Entry], most: int, left_out: Counter[str]) -> list[Entry]:
    """The best translations of a phrase; none if the best is the phrase itself, as names are."""
    unlike = [entry for entry in entries if word_key(entry.translation) != entry.phrase]
    if not unlike or unlike[0] is not entries[0]:
        left_out["induction: phrase is the same in both languages"] += 1
        return []
    left_out["induction: phrase pair beyond the best candidates"] += max(len(unlike) - most, 0)
    return unlike[:most]
