"""Filters: translations that are none, or say something else, and problems met before.

A rule looks at one question in one language. What it drops, and why, is a `Drop`; how many it
looked at is counted, so that a data card can say "numbers: 412 of 52,311".

The thresholds were chosen on the machine-translated training questions of GSM8K in eight
languages, never on a benchmark.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import regex

from data_prep.lexicons.lexicon import WORD
from data_prep.problems import Problem
from data_prep.quality import contamination, numbers
from data_prep.sources import rendered
from xcot_jax.languages import CODES, LANGUAGES
from xcot_jax.settings import QualitySettings, Settings

# What "mostly" means, names apart. Words of the source: under 10 % in most translations, 47 % in
# the worst, 83 % or more in copies. Letters of another script: 56 % in the worst, all in copies.
MOSTLY = 0.6
# Words of the source in a row, names apart: at most 5 in translations, 14 or more in copies.
SOURCE_WORDS_IN_A_ROW = 8
# The identifier is this sure of another language in no good translation, nor in any of 19,000
# sentences taken by themselves.
SURE_OF_LANGUAGE = 0.9
# Japanese has more kana than this among its letters, Chinese less.
KANA = 0.1
# Shorter texts are judged by their script alone.
FEWEST_CHARACTERS = 10

# Characters of a question relative to its English: medians of GSM8K's training questions. Bengali,
# Telugu and Thai, which these lack: medians of the embedded corpus.
USUAL_LENGTH: dict[str, float] = {
    "en": 1.0,
    "de": 1.11,
    "fr": 1.14,
    "es": 1.06,
    "ru": 1.03,
    "zh": 0.32,
    "ja": 0.49,
    "th": 0.84,
    "te": 1.29,
    "bn": 1.06,
    "sw": 1.06,
}

_SCRIPTS: dict[str, str] = {
    "Latn": r"\p{Latin}",
    "Cyrl": r"\p{Cyrillic}",
    "Hans": r"\p{Han}\p{Hiragana}\p{Katakana}ー",  # Kana are counted apart.
    "Jpan": r"\p{Han}\p{Hiragana}\p{Katakana}ー",
    "Thai": r"\p{Thai}",
    "Telu": r"\p{Telugu}",
    "Beng": r"\p{Bengali}",
}
_LETTER = regex.compile(r"\p{L}")
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
# In another script names often stay in Latin letters: those words do not count.
_LATIN_NAME = regex.compile(r"(?<!\p{Latin})\p{Lu}[\p{Latin}\p{M}'’.&-]*")
_OWN = {script: regex.compile(f"[{letters}]") for script, letters in _SCRIPTS.items()}
_OTHERS = {
    script: regex.compile(rf"[\p{{L}}--[{letters}]]", regex.V1)
    for script, letters in _SCRIPTS.items()
}


@dataclasses.dataclass(frozen=True)
class Question:
    """A question, and what it is a translation of.

    Attributes:
      text: the question.
      language: its language.
      source: the text translated from; empty if there is none, or if this is it.
      source_language: that text's language.
    """

    text: str
    language: str
    source: str
    source_language: str


@dataclasses.dataclass(frozen=True)
class Rule:
    """One filter.

    Attributes:
      meaning: what it asks of a question, in one sentence.
      check: why a question breaks it, in words; None if it does not. Rules that compare a
        question with others than its source have none: `Filter` keeps what they need.
      needs_source: whether it looks only at questions that are translations.
    """

    meaning: str
    check: Callable[[Question, QualitySettings], str | None] | None = None
    needs_source: bool = False


@dataclasses.dataclass(frozen=True)
class Drop:
    """Why a question, or a whole problem, was left out.

    Attributes:
      problem: id of the problem.
      language: of the question; empty if the whole problem was left out.
      rule: a row of `RULES`.
      evidence: what the rule found, in words.
      source: the question in the teacher's language; empty if there is none.
      text: the question in which the rule found it.
    """

    problem: str
    language: str
    rule: str
    evidence: str
    source: str
    text: str


def _untranslated(question: Question, settings: QualitySettings) -> str | None:
    del settings
    if rendered(question.text) == rendered(question.source):
        return "equal to the source"
    code, source = LANGUAGES[question.language], LANGUAGES[question.source_language]
    if source.spaced:
        known = {word.casefold() for word in WORD.findall(question.source)}
        words = [word for word in WORD.findall(question.text) if word[0].islower()]
        copied = [word.casefold() in known for word in words]
        if code.script == source.script and sum(copied) > MOSTLY * len(words):
            return f"{sum(copied)} of {len(words)} words are the source's"
        row = max((sum(run) for _, run in itertools.groupby(copied)), default=0)
        if row >= SOURCE_WORDS_IN_A_ROW:
            return f"{row} words in a row are the source's"
    if code.script != source.script and {code.script, source.script} != {"Hans", "Jpan"}:
        text = _LATIN_NAME.sub("", question.text)
        letters, foreign = len(_LETTER.findall(text)), len(_OWN[source.script].findall(text))
        if foreign > MOSTLY * letters:
            return f"{foreign} of {letters} letters are in the source's script"
    return None


def _wrong_language(question: Question, settings: QualitySettings) -> str | None:
    del settings
    code = LANGUAGES[question.language]
    text = question.text if code.script == "Latn" else _LATIN_NAME.sub("", question.text)
    foreign = len(_OTHERS[code.script].findall(text))
    if foreign and foreign > MOSTLY * (letters := len(_LETTER.findall(text))):
        return f"{foreign} of {letters} letters are not in the script of {code.name}"
    if len(text) < FEWEST_CHARACTERS:
        return None
    if code.script == "Latn":
        found, sure = _identify(text)
        if found != question.language and sure >= SURE_OF_LANGUAGE:
            return f"{LANGUAGES[found].name}, with confidence {sure:.3f}"
    elif code.script in ("Hans", "Jpan") and (_KANA.search(text) or code.script == "Jpan"):
        kana, letters = len(_KANA.findall(text)), len(_LETTER.findall(text))
        if (kana > KANA * letters) != (code.script == "Jpan"):
            return f"{kana} of {letters} letters are kana"
    return None


@functools.cache
def _identifier() -> Any:
    from py3langid import langid  # type: ignore[import-untyped]

    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    model.set_languages(CODES)
    return model


def _identify(text: str) -> tuple[str, float]:
    """The most likely of the eleven languages, and how likely it is."""
    return _identifier().classify(text)


def _numbers(question: Question, settings: QualitySettings) -> str | None:
    mark = numbers.calculator_mark(question.text)
    if mark and not numbers.calculator_mark(question.source):
        return f"works out {mark}"
    lost = numbers.missing(
        question.source, question.text, question.language, spelt_out=settings.number_words
    )
    return f"lacks {', '.join(lost)}" if lost else None


def _length_ratio(question: Question, settings: QualitySettings) -> str | None:
    usual = USUAL_LENGTH[question.language] / USUAL_LENGTH[question.source_language]
    ratio = len(question.text.strip()) / len(question.source.strip()) / usual
    if settings.shortest <= ratio <= settings.longest:
        return None
    return f"{ratio:.2f} times the usual length"


RULES: dict[str, Rule] = {
    "contamination": Rule("No question shares a long run of words with a test question."),
    "untranslated": Rule(
        "A question is not its source again, nor mostly the source's words.",
        _untranslated,
        needs_source=True,
    ),
    "wrong_language": Rule("A question is in its language.", _wrong_language),
    "numbers": Rule(
        "Every number that the source writes in digits is in the translation, in some form, and "
        "nothing is worked out there.",
        _numbers,
        needs_source=True,
    ),
    "length_ratio": Rule(
        "A translation is about as long as is usual for its language.",
        _length_ratio,
        needs_source=True,
    ),
    "duplicate": Rule("No other problem asks the same question in the same language."),
}


def contradiction(
    text: str, language: str, source_text: str, source_language: str, settings: QualitySettings
) -> tuple[str, str] | None:
    """The first rule a question breaks, and how; None if it breaks none.

    Only the rules that need no other questions are applied: those with a `check`.
    """
    source = source_text.strip() if language != source_language else ""
    question = Question(text, language, source, source_language)
    for name in settings.rules:
        rule = RULES[name]
        if rule.check and (source or not rule.needs_source):
            evidence = rule.check(question, settings)
            if evidence:
                return name, evidence
    return None


class Filter:
    """Applies the rules of `prep.quality.rules` to problems, in their order.

    Attributes:
      notes: what problems are checked against, in words.
    """

    def __init__(self, settings: Settings) -> None:
        """Reads what problems are compared with.

        Raises:
          InputError: for a file of test questions that cannot be read.
        """
        self._settings = settings.prep.quality
        self._teacher = settings.high_resource[0]
        self._tests: list[contamination.Benchmark] = []
        if "contamination" in self._settings.rules:
            self._tests = contamination.benchmarks(settings)
        names = "; ".join(test.name for test in self._tests)
        self.notes: tuple[str, ...] = ()
        if names:
            self.notes = (
                f"contamination was checked against: {names}",
                *(
                    f"{key} = {name} is not there: contamination was not checked against it"
                    for key, name in contamination.missing(settings)
                ),
            )

    def __call__(
        self, problem: Problem, repeated: Collection[str] = ()
    ) -> tuple[Problem | None, list[Drop], Counter[str]]:
        """Filters a problem; a pure function of it.

        A problem is left out whole if its question in the teacher's language breaks a rule, if any
        of its questions is a test question, or if no question is left.

        Args:
          problem: any problem.
          repeated: languages in which an earlier problem asks the same question.

        Returns:
          What is left of the problem (None: nothing), what was left out, and how many questions
          each rule looked at.
        """
        source = problem.question.get(self._teacher, "").strip()
        kept = dict(problem.question)
        drops: list[Drop] = []
        checked: Counter[str] = Counter()
        for rule in self._settings.rules:
            for code in sorted(kept, key=lambda code: code != self._teacher):
                own = code == self._teacher
                question = Question(kept[code], code, "" if own else source, self._teacher)
                if RULES[rule].needs_source and not question.source:
                    continue
                checked[rule] += 1
                evidence = self._evidence(rule, question, repeated)
                if evidence is None:
                    continue
                whole = own or rule == "contamination" or len(kept) == 1
                named = "" if whole else code
                drops.append(Drop(problem.id, named, rule, evidence, source, kept.pop(code)))
                if whole:
                    return None, drops, checked
        if len(kept) < len(problem.question):
            problem = dataclasses.replace(problem, question=kept)
        return problem, drops, checked

    def _evidence(self, rule: str, question: Question, repeated: Collection[str]) -> str | None:
        check = RULES[rule].check
        if check:
            return check(question, self._settings)
        if rule == "duplicate":
            return "another problem asks it" if question.language in repeated else None
        found = contamination.overlap(question.text, self._tests)
        return f"{found[0]}: {found[1]}" if found else None
