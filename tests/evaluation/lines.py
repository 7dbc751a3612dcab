"""Lines of generations files as evaluation writes them, for tests of what reads them."""

from __future__ import annotations

from typing import Any

from xcot_jax.evaluation.answers import Answer

QUESTIONS = {
    "en": "How many apples does Anna have?",
    "de": "Wie viele Äpfel hat Anna?",
    "fr": "Combien de pommes Anna a-t-elle ?",
    "es": "¿Cuántas manzanas tiene Ana?",
    "ru": "Сколько яблок у Анны?",
    "zh": "安娜有多少个苹果？",
    "ja": "アンナはりんごを何個持っていますか？",
    "th": "แอนนามีแอปเปิลกี่ผล",
    "te": "అన్నా దగ్గర ఎన్ని ఆపిల్స్ ఉన్నాయి?",
    "bn": "আনার কাছে কয়টি আপেল আছে?",
    "sw": "Anna ana matufaa mangapi?",
}


def line(identifier: str, language: str, *, correct: bool = True, **changes: Any) -> dict[str, Any]:
    """One line: 7 is right, and 8 was said where it is wrong."""
    said = "7" if correct else "8"
    text = f"So Anna has five apples and then two more.\nThe answer is {said}."
    start = text.index(said)
    return {
        "id": identifier,
        "language": language,
        "question": QUESTIONS[language],
        "mode": "direct",
        "prompt": f"Question: {QUESTIONS[language]}\nAnswer:\n",
        "turns": [],
        "text": text,
        "extracted": said,
        "rule": "en",
        "span": [start, start + 1],
        "strict": said,
        "gold": "7",
        "correct": correct,
        "strict_correct": correct,
        "truncated": False,
        "translation": None,
        "translation_language": None,
        "votes": None,
    } | changes


def answer(**fields: Any) -> Answer:
    """The answer of such a line."""
    return Answer.from_json(fields)
