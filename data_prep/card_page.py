"""DATA_CARD.md: the data card as a page to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xcot_jax.languages import CODES, LANGUAGES

_Card = Mapping[str, Any]


def markdown(card: _Card, name: str) -> str:
    """The page of a card.

    Args:
      card: as in `data_card.json`.
      name: of the dataset.
    """
    sections = (
        _opening(card, name),
        _problems(card),
        _translation(card),
        _groups(card),
        _switching(card),
        _quality(card),
        _left_out(card),
        _tokens(card),
        _provenance(card),
    )
    return "\n\n".join("\n".join(lines) for lines in map(list, sections) if lines) + "\n"


def _opening(card: _Card, name: str) -> Iterator[str]:
    total = sum(card["groups"].values())
    languages = sorted(_languages(card), key=CODES.index)
    yield f"# {name}"
    yield ""
    yield (
        f"{total:,} parallel groups in {len(languages)} languages "
        f"({', '.join(LANGUAGES[code].name for code in languages)}), made by `xcot prep` from the "
        f"source `{card['source']}`. A group is one problem seen by a teacher and its students, "
        "all of whom end in one shared answer."
    )
    if card["notes"]:
        yield f"\n{card['notes']}"


def _problems(card: _Card) -> Iterator[str]:
    read = card.get("read", {})
    yield "## Problems\n"
    yield from _table(
        ("split", "read", "kept", "groups"),
        (
            (split, _n(read.get(split, 0)), _n(kept), _n(card["groups"].get(split, 0)))
            for split, kept in card["problems"].items()
            if kept or read.get(split)
        ),
    )


def _translation(card: _Card) -> Iterator[str]:
    made = card.get("translation")
    if not made:
        return
    yield f"## Translation\n\n{made['provenance']}\n"
    yield from _table(("questions", "count"), ((k, _n(v)) for k, v in made["questions"].items()))


def _groups(card: _Card) -> Iterator[str]:
    yield "## Student views"
    for split, recipes in card["student_views"].items():
        codes = [c for c in CODES if any(c in counts for counts in recipes.values())]
        teachers = card["teacher_views"].get(split, {})
        spoken = ", ".join(f"{_n(count)} in {code}" for code, count in teachers.items())
        yield f"\n{split} (teachers: {spoken or 'none'})\n"
        yield from _table(
            ("recipe", *codes),
            ((name, *(_n(counts.get(c, 0)) for c in codes)) for name, counts in recipes.items()),
        )


def _switching(card: _Card) -> Iterator[str]:
    rates = card["code_switching"]
    if not rates["words"]:
        return
    yield "## Code-switching\n"
    yield (
        "Coverage is the share of source words the lexicon can translate; rate is the share of "
        "covered fragments that were replaced, word share that of all source words.\n"
    )
    rows = [*rates["by_language"].items(), ("all", rates)]
    phrases: dict[str, int] = {}
    for pair, count in card["lexicon"]["phrases"].items():
        into = pair.partition("-")[2]
        phrases[into] = phrases.get(into, 0) + count
    yield from _table(
        ("into", "phrases", "coverage", "fragments replaced", "rate", "word share"),
        (
            (
                code,
                _n(phrases.get(code, 0) if code != "all" else sum(phrases.values())),
                f"{row['lexicon_coverage']:.1%}",
                _n(row["fragments_switched"]),
                f"{row['realised_rate']:.1%}",
                f"{row['realised_word_share']:.1%}",
            )
            for code, row in rows
        ),
    )
    yield f"\nLexicon: {card['lexicon']['provenance']}"


def _quality(card: _Card) -> Iterator[str]:
    rules = card["quality"].get("rules")
    if not rules:
        return
    yield "## Quality rules\n"
    yield from _table(
        ("rule", "what it drops", "checked", "dropped", "by language"),
        (
            (
                name,
                rule["meaning"],
                _n(rule["checked"]),
                _n(sum(rule["dropped"].values())),
                ", ".join(f"{code} {_n(count)}" for code, count in rule["dropped"].items()),
            )
            for name, rule in rules.items()
        ),
    )
    yield from (f"\n{note}" for note in card["quality"]["notes"])
    for name, rule in rules.items():
        if rule["examples"]:
            yield f"\nExamples of `{name}`\n"
        for row in rule["examples"]:
            where = f"{row['problem']}, {row['language'] or 'all languages'}"
            yield f"- {where}: {row['evidence']}"
            yield f"  - {_one_line(row['source'])}"
            if row["text"] != row["source"]:
                yield f"  - {_one_line(row['text'])}"


def _left_out(card: _Card) -> Iterator[str]:
    yield "## Left out\n"
    if card["dropped"]:
        yield from _table(("reason", "count"), ((k, _n(v)) for k, v in card["dropped"].items()))
    else:
        yield "Nothing."


def _tokens(card: _Card) -> Iterator[str]:
    if not card["tokens"]:
        return
    yield "## Tokens of a view, over a sample of training groups\n"
    yield from _table(
        ("language", "recipe", "views", "prompt, mean", "response, mean", "median", "longest"),
        (
            (
                code,
                recipe,
                _n(row["views_measured"]),
                f"{row['prompt_mean']:.1f}",
                f"{row['response_mean']:.1f}",
                _n(row["median"]),
                _n(row["longest"]),
            )
            for code, recipes in card["tokens"].items()
            for recipe, row in recipes.items()
        ),
    )


def _provenance(card: _Card) -> Iterator[str]:
    yield "## Provenance and licences\n"
    yield f"- Problems: {card['provenance'] or 'not said (set prep.provenance)'}"
    if card.get("translation"):
        yield f"- Translations: {card['translation']['provenance']}"
    yield f"- Lexicon: {card['lexicon']['provenance']}"
    for key, digest in card["inputs"].items():
        yield f"- `{key}`: {'SHA-256 ' if len(digest) == 64 else ''}{digest}"
    yield f"- Settings: `config.json`, SHA-256 of what matters {card['settings_sha256']}"


def _languages(card: _Card) -> set[str]:
    views = card["student_views"].values()
    students = {code for split in views for counts in split.values() for code in counts}
    return students | {code for split in card["teacher_views"].values() for code in split}


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table; columns that hold numbers only are set flush right."""
    body = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    numeric = [bool(body) and all(_is_number(row[i]) for row in body) for i in range(len(header))]
    yield "| " + " | ".join(header) + " |"
    yield "|" + "|".join("--:" if right else ":--" for right in numeric) + "|"
    for row in body:
        yield "| " + " | ".join(row) + " |"


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").removesuffix("%").isdigit()


def _n(count: int) -> str:
    return f"{count:,}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."
