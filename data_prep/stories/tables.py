"""What a language gives to the story problems: words with their forms, and one text a template.

How to write a language
-----------------------
Copy `de.py` to `<code>.py` and replace what is German. The module ends in `TABLE = Table(...)`.
Every mapping has the keys of the English table (`en.py`), in the same order; `Table` checks that.

A `Word` is a base form and named further forms: `word("яблоки", few="яблока", many="яблок")`. Form
names are the language's own business; only `f` and `m` mean something to the engine (below).

A template's text has slots in braces:

    {noun} {get} {lose} {container}   the problem's words, in the base form
    {noun:ask}                        ... in the form `ask`
    {name} {other} {name:gen}         its one or two people
    {friends} {he:@}                  a word of `extras`
    {get:@} {he:@2}                   the form `f` or `m`, by the gender of {name}; of {other}
    {they:@@}                         `f` if both people are women, else `m`
    {n1} {n2} {n3} {n4}               a bare number
    {n1:noun} {n2:container} {n2:friends} {n2:days}
                                      number and word as `count(number, word, "")` writes them:
                                      numeral, agreement, classifier, word order live there
    {n1:noun.more}                    the same with `count(number, word, "more")`

The first letter of each sentence is capitalised by the engine where the script has capitals, so
forms are written in lower case. Rules that make the corpus work:

- Present tense, each verb ideally in one surface form (in two, `f` and `m`, where verbs agree in
  gender), each noun in one or two: what is learnt of a word has to carry over. Phrase around the
  rest. A verb's form is contiguous, and stands for all who do it.
- All words fit all templates. No noun or verb is spelt like another one, or contained in another
  one or in a template or a name, as a word (as a string, in scripts without spaces).
- Say each number of the plan exactly once, as digits 0-9 (the engine writes those), and the 2 of
  "twice" as a word; no other numbers. Name noun, people and verbs as often as is natural.
- Whether apples come or go is told by the verb only: where English has "now" in both `get` and
  `lose`, no "more" or "left" gives it away.
- Scripts without spaces have no spaces at all; other scripts single ones. Text is NFC.

`phrases` pairs English words of the templates with the language's: lower case, exactly as they
surface in some question of the language (leave out what has no fair counterpart; several
counterparts as a tuple, the most common first). `noun_phrases` does the same for phrases that hold
a noun, such as `{"how many {noun}": "{noun} {noun:ask}"}`; write it where "how many" changes with
the noun. `noun_forms` names the forms in which a noun surfaces, the most common first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

# People, by their English name, with the gender of the pronouns and verbs that go with them.
PEOPLE: dict[str, Literal["f", "m"]] = {
    "Anna": "f",
    "Tom": "m",
    "Maria": "f",
    "David": "m",
    "Sara": "f",
    "Paul": "m",
    "Lena": "f",
    "Omar": "m",
    "Nina": "f",
    "Ivan": "m",
    "Amina": "f",
    "Max": "m",
    "Mei": "f",
    "Kenji": "m",
    "Julia": "f",
    "Ravi": "m",
}

# The words problems are drawn from, by their English surface form. Of the first three, the last
# ones of each list are those withheld from low-resource training.
NOUNS: tuple[str, ...] = (
    *("apples", "books", "coins", "flowers", "balls", "eggs", "pens", "cards"),
    *("oranges", "cakes", "candles", "stamps", "stones", "hats", "cups", "keys"),
)
GET: tuple[str, ...] = (
    *("buys", "finds", "collects", "orders"),
    *("receives", "wins", "obtains", "discovers"),
)
LOSE: tuple[str, ...] = (
    *("gives away", "sells", "loses", "lends"),
    *("throws away", "donates", "sends away", "hands over"),
)
CONTAINERS: tuple[str, ...] = ("boxes", "bags", "baskets")
EXTRAS: tuple[str, ...] = ("he", "they", "friends", "days")


@dataclasses.dataclass(frozen=True)
class Word:
    """A word: its base form, the name of which is the empty string, and named further forms."""

    forms: Mapping[str, str]

    def __getitem__(self, form: str) -> str:
        return self.forms[form]


def word(base: str, **forms: str) -> Word:
    """A word from its base form and its named forms."""
    return Word({"": base, **forms})


def words(keys: tuple[str, ...], *bases: str | Word) -> dict[str, Word]:
    """Words by their English key, in order; a plain string stands for a word of one form."""
    entries = (base if isinstance(base, Word) else word(base) for base in bases)
    return dict(zip(keys, entries, strict=True))


@dataclasses.dataclass(frozen=True)
class Table:
    """The words and templates of one language; the module's docstring tells how to write one.

    Attributes:
      code: the language.
      people: English name -> the name in this language's script.
      nouns: English plural -> word; 16 things that all verbs go with.
      get: English verb -> verb, present tense: there are more things afterwards.
      lose: English verb -> verb, present tense: there are fewer things afterwards.
      containers: English plural -> word; the form `each` is "each box holds".
      extras: other words of the templates: `he` and `they`, with the forms `f` and `m` where the
        language has them and needs them, `friends` and `days`.
      templates: template id -> text with slots.
      count: number, word and variant (normally "") -> number and word in agreement.
      noun_forms: forms in which nouns and containers surface, most common first.
      phrases: English phrase of a template -> its counterparts.
      noun_phrases: English phrase with `{noun}` -> its counterpart, with slots.
    """

    code: str
    people: Mapping[str, Word]
    nouns: Mapping[str, Word]
    get: Mapping[str, Word]
    lose: Mapping[str, Word]
    containers: Mapping[str, Word]
    extras: Mapping[str, Word]
    templates: Mapping[str, str]
    count: Callable[[int, Word, str], str]
    phrases: Mapping[str, str | tuple[str, ...]]
    noun_forms: tuple[str, ...] = ("",)
    noun_phrases: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for field, keys in (
            ("people", tuple(PEOPLE)),
            ("nouns", NOUNS),
            ("get", GET),
            ("lose", LOSE),
            ("containers", CONTAINERS),
            ("extras", EXTRAS),
        ):
            if tuple(getattr(self, field)) != keys:
                raise ValueError(f"stories of {self.code!r}: {field} must have the keys {keys}")
