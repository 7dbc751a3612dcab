"""Small groups of many kinds, for the tests of packing, loading and training."""

from __future__ import annotations

from xcot_jax.data.records import ParallelGroup, View

LANGUAGES = ("sw", "zh", "te")
WORDS = {
    "en": ("apples", "stones", "cups"),
    "sw": ("matofaa", "mawe", "vikombe"),
    "zh": ("苹果", "石头", "杯子"),
    "te": ("ఆపిల్స్", "రాళ్ళు", "కప్పులు"),
}


def question(language: str, number: int) -> str:
    """A question that depends on the number in its length and words."""
    word = WORDS[language][number % 3]
    return (
        f"Question: {number} {word}" + f" + {number % 7} {word}" * (1 + number % 3) + "?\nAnswer:\n"
    )


def group(
    number: int, *, teacher: bool = True, students: int = 1, preamble: bool = False
) -> ParallelGroup:
    """The group of that number: its views differ in language, all end in one answer."""
    views = tuple(
        View(language, question(language, number), question("zh", number) if preamble else "")
        for language in LANGUAGES[:students]
    )
    return ParallelGroup(
        id=f"group-{number}",
        recipe="random_cot" if preamble else "instruct",
        answer=f"So {number} and {number % 7}.\nThe answer is {number + number % 7}.",
        teacher=View("en", question("en", number)) if teacher else None,
        students=views,
    )
