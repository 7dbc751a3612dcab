"""Groups: which views a problem gives under which settings, and that chance has its place."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.code_switch import restore
from data_prep.groups import make_context, make_group, plan
from data_prep.lexicons.lexicon import Entry, build_lexicon
from data_prep.problems import Problem
from data_prep.recipes import RECIPES
from xcot_jax import prompts
from xcot_jax.errors import InputError
from xcot_jax.evaluation.extraction import last_number
from xcot_jax.settings import (
    DataSettings,
    MixtureSettings,
    PrepSettings,
    RandomCotSettings,
    Settings,
    XiclSettings,
)

LOW = ("sw", "th", "bn", "te")
LEXICON = build_lexicon(
    [Entry("en", code, "apples", f"apples_{code}") for code in (*LOW, "de")]
    + [Entry("en", code, "how many", f"howmany_{code}") for code in (*LOW, "de")]
)


def problem(name: str, languages=("en",)) -> Problem:
    questions = {code: f"{code}: Sue has 3 apples. How many apples ({name})?" for code in languages}
    return Problem(name, questions, f"So apples {name}: 3.", "3", names=("Sue",))


POOL = [problem(f"p{number}") for number in range(8)]


def settings(students=1, teacher=True, repeat=1, high=("en", "de"), template="question", **recipes):
    known = set(RECIPES)
    mixture = {k: float(v) for k, v in recipes.items() if k in known} or {"instruct": 1.0}
    others = {"languages", "seed", "cot", "teacher_language"}
    xicl = {k: v for k, v in recipes.items() if k not in known | others}
    prep = PrepSettings(
        teacher=teacher,
        repeat_low_resource=repeat,
        template=template,
        mixture=MixtureSettings(**{"instruct": 0.0, **mixture}),
        xicl=XiclSettings(**xicl),
        random_cot=RandomCotSettings(**recipes.get("cot", {})),
        **{key: recipes[key] for key in ("languages", "teacher_language") if key in recipes},
    )
    return Settings(
        seed=recipes.get("seed", 0),
        high_resource=high,
        data=DataSettings(students=students),
        prep=prep,
    )


def groups_of(one, run, pool=POOL):
    context = make_context(run, LEXICON, pool)
    planned = plan(one, context)
    return [make_group(planned[number], context) for number in range(len(planned))]


def made(one, run):
    return [m.group for m in groups_of(one, run)]


@pytest.mark.parametrize("students", [1, 2, 3, 9])
def test_each_language_but_the_teachers_is_a_student_once(students):
    one = problem("a", ("en", "de", "fr", "sw", "zh", "th"))
    groups = made(one, settings(students, languages=("en", "de", "sw", "th", "zh")))
    spoken = [view.language for group in groups for view in group.students]
    assert sorted(spoken) == ["de", "sw", "th", "zh"]
    assert len(groups) == -(-4 // students)
    for group in groups:
        assert group.recipe == "instruct"
        assert group.teacher is not None
        assert group.teacher.prompt == f"Question: {one.question['en']}\nAnswer:\n"
        assert group.answer == "So apples a: 3.\nThe answer is 3."
        for view in group.students:
            assert view.prompt == f"Question: {one.question[view.language]}\nAnswer:\n"
            assert view.preamble == ""


def test_plain_baseline_gives_every_language_alone():
    one = problem("a", ("en", "de", "sw"))
    groups = made(one, settings(3, teacher=False, repeat=2))
    assert all(group.teacher is None and len(group.students) == 1 for group in groups)
    assert Counter(group.students[0].language for group in groups) == {"en": 1, "de": 1, "sw": 2}


@pytest.mark.parametrize("students", [1, 3])
def test_only_low_resource_questions_are_repeated(students):
    groups = made(problem("a", ("en", "de", "sw", "th")), settings(students, repeat=3))
    spoken = Counter(view.language for group in groups for view in group.students)
    assert spoken == {"de": 1, "sw": 3, "th": 3}
    assert len({group.id for group in groups}) == len(groups)


def test_english_only_problem_without_xicl_stands_alone():
    for run in (settings(), settings(instruct=1, random_cot=1), settings(teacher=False)):
        (group,) = made(problem("a"), run)
        assert group.teacher is None
        assert [v.language for v in group.students] == ["en"]
        assert group.recipe == "instruct"


@pytest.mark.parametrize("students", [1, 2])
def test_english_only_problem_is_switched_into_drawn_languages(students):
    drawn = Counter()
    for number in range(400):
        (group,) = made(problem(f"q{number}"), settings(students, xicl=1, instruct=5, rate=1.0))
        assert group.recipe == "xicl"
        assert group.teacher is not None
        assert group.teacher.language == "en"
        assert len({v.language for v in group.students}) == students
        for view in group.students:
            assert f"apples_{view.language}" in view.prompt
            drawn[view.language] += 1
    assert set(drawn) == {*LOW, "de"}
    assert all(n == pytest.approx(80 * students, abs=40) for n in drawn.values())


def test_high_resource_problem_is_also_switched_into_what_it_lacks():
    groups = made(problem("a", ("en", "de")), settings(2, xicl=1, instruct=1))
    assert len(groups) == 2
    assert [v.language for v in groups[0].students] == ["de"]
    assert {v.language for v in groups[1].students} <= set(LOW)
    teacherless = made(problem("a", ("en",)), settings(2, teacher=False, xicl=1, instruct=1))
    assert [len(g.views) for g in teacherless] == [1, 1, 1]
    assert [g.recipe for g in teacherless] == ["instruct", "xicl", "xicl"]


@pytest.mark.parametrize("template", prompts.TEMPLATES)
@pytest.mark.parametrize("demonstrations", [0, 1, 3])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_xicl_is_the_teachers_prompt_switched(template, demonstrations, rate):
    run = settings(2, xicl=1, rate=rate, demonstrations=demonstrations, template=template)
    one = problem("p3", ("en", "sw", "th"))
    (result,) = groups_of(one, run)
    group = result.group
    shown = [p for p in POOL if p.question["en"] in group.teacher.prompt]
    assert one.id in [p.id for p in shown]  # as the question itself; it is also in the pool
    assert len(shown) == demonstrations + 1
    assert group.teacher.prompt.count("The answer is 3.\n\n") == demonstrations
    assert group.teacher.prompt.endswith(
        prompts.direct_prompt(prompts.template(template), one.question["en"])
    )
    for view, coverage in zip(group.students, result.coverage, strict=True):
        assert restore(view.prompt, view.switches) == group.teacher.prompt
        count = coverage.fragments
        assert count == 3 * (demonstrations + 1)
        assert coverage.covered_words == 4 * (demonstrations + 1)
        assert coverage.words == 9 * (demonstrations + 1)
        switched = sum(len(spot.source.split()) for spot in view.switches)
        assert coverage.switched_words == switched
        assert len(view.switches) <= count
        assert rate not in (0, 1) or len(view.switches) == rate * count
        for spot in view.switches:
            switched = view.prompt[spot.start : spot.end].lower()
            assert switched.endswith(f"_{view.language}")
        # Answers are never switched, only questions.
        assert view.prompt.count("So apples p") == demonstrations
        assert view.prompt.count("Sue has 3 ") == demonstrations + 1


@pytest.mark.parametrize("side", ["both", "demonstrations", "query"])
def test_the_side_that_is_not_switched_stays_as_it_is(side):
    run = settings(1, xicl=1, rate=1.0, demonstrations=2, side=side)
    (group,) = made(problem("p3", ("en", "sw")), run)
    (view,) = group.students
    *shown, query = view.prompt.split("Question: ")[1:]
    assert len(shown) == 2
    assert all(("apples_sw" in text) == (side != "query") for text in shown)
    assert ("apples_sw" in query) == (side != "demonstrations")
    # A question that is not switched stands in the student's language, where the problem has it.
    assert query.startswith("sw: Sue" if side == "demonstrations" else "en: Sue")
    (alone,) = made(problem("q"), run)
    assert "\nAnswer" in alone.students[0].prompt
    assert group.teacher.prompt.count("en: Sue") == 3


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_rate_can_be_a_share_of_all_words(rate):
    run = settings(2, xicl=1, rate=rate, share_of="words", demonstrations=3)
    total = switched = 0
    for number in range(200):
        (result,) = groups_of(problem(f"q{number}", ("en", "sw", "th")), run)
        for coverage in result.coverage:
            total += coverage.words
            switched += coverage.switched_words
            assert rate != 1 or coverage.switched_words == coverage.covered_words
    # Four words of nine are covered.
    assert switched / total == pytest.approx(min(rate, 4 / 9), abs=0.02)


def test_the_language_that_is_switched_is_drawn():
    lexicon = build_lexicon(
        [Entry(source, "sw", "apples", f"from_{source}") for source in ("en", "de", "sw")]
    )
    run = settings(
        1, xicl=1, rate=1.0, sources=("en", "de", "sw"), demonstrations=1, languages=("sw",)
    )
    pool = [problem(f"p{n}", ("en", "de") if n % 2 else ("en",)) for n in range(8)]
    drawn = Counter()
    for number in range(300):
        context = make_context(run, lexicon, pool)
        result = make_group(plan(problem(f"q{number}", ("en", "de", "sw")), context)[0], context)
        (view,) = result.group.students
        *_, query = view.prompt.split("Question: ")
        drawn[query[:2]] += 1
        assert f"from_{query[:2]}" in query
    assert set(drawn) == {"en", "de"}
    assert drawn["en"] / drawn.total() == pytest.approx(0.5, abs=0.1)


def answered(name, *codes):
    one = problem(name, ("en", "sw", "de"))
    rationales = {code: f"{code}: {name}." for code in codes}
    return dataclasses.replace(one, rationales=rationales)


def test_native_and_cross_answer_in_the_language():
    one = answered("a", "sw")
    results = groups_of(one, settings(teacher=False, instruct=0, native=1))
    assert [r for r in results if isinstance(r, str)] == [
        "group: no recipe of the mixture fits a question in de"
    ]
    native = [result.group for result in results if not isinstance(result, str)]
    by_language = {group.students[0].language: group for group in native}
    assert set(by_language) == {"en", "sw"}
    assert by_language["sw"].answer == "sw: a.\n#### 3"
    assert by_language["en"].answer == "So apples a: 3.\n#### 3"
    prompt = by_language["sw"].students[0].prompt
    assert prompt == f"Question: {one.question['sw']}\nAnswer in Swahili:\n"
    cross = made(one, settings(teacher=False, instruct=0, cross=1, languages=("sw",)))
    (group,) = cross
    assert group.answer == "sw: a.\n#### 3"
    assert group.students[0].language == "en"
    assert group.students[0].prompt == f"Question: {one.question['en']}\nAnswer in Swahili:\n"
    for group in (*native, *cross):
        assert group.teacher is None
        assert last_number(group.answer) == Decimal(3)


def test_monolingual_text_is_a_question_in_one_language_a_problem():
    asked = ("en", "de", "sw")
    found: Counter[str] = Counter()
    for number in range(90):
        one = problem(f"m{number}", asked)
        results = groups_of(one, settings(teacher=False, instruct=0, monolingual=1))
        (group,) = [r.group for r in results if not isinstance(r, str)]
        (view,) = group.students
        assert group.teacher is None
        assert (view.prompt, group.answer) == ("Question: ", one.question[view.language])
        found[view.language] += 1
    assert set(found) == set(asked) and min(found.values()) > 15


def test_random_cot_by_chance_and_without_loss():
    one = problem("a", ("en", "de", "sw"))
    views = [
        view
        for group in made(one, settings(random_cot=1, repeat=400, cot={"probability": 0.25}))
        for view in group.students
    ]
    restated = sum(bool(view.preamble) for view in views)
    assert restated / len(views) == pytest.approx(0.25, abs=0.06)
    given = made(one, settings(random_cot=1, repeat=10, cot={"loss": False}))
    trained = made(one, settings(random_cot=1, repeat=10))
    for without, with_loss in zip(given, trained, strict=True):
        for a, b in zip(without.students, with_loss.students, strict=True):
            assert a.preamble == ""
            assert b.preamble != ""
            assert a.prompt == b.prompt + b.preamble


def test_random_cot_prompt_is_a_setting():
    words = "{question}\nSay it in {language}:\n"
    (group,) = made(problem("a", ("en", "sw")), settings(random_cot=1, cot={"prompt": words}))
    assert group.students[0].prompt.endswith("(a)?\nSay it in English:\n")


def test_random_cot_says_the_question_in_another_language_first():
    one = problem("a", ("en", "de", "sw"))
    run = settings(random_cot=1, repeat=40)
    said = Counter()
    for group in made(one, run):
        assert group.teacher.preamble == ""
        for view in group.students:
            (other,) = (c for c in one.question if one.question[c] in view.preamble)
            assert other != view.language
            said[view.language, other] += 1
    assert set(said) == {("sw", "en"), ("sw", "de")} | {k for k in said if k[0] == "de"}


def test_recipes_are_drawn_by_weight_among_those_that_fit():
    run = settings(instruct=1, xicl=2, random_cot=1)
    drawn = Counter(made(problem(f"q{n}", ("en", "sw")), run)[0].recipe for n in range(2_000))
    assert set(drawn) == {"instruct", "xicl", "random_cot"}
    assert drawn["xicl"] == pytest.approx(1_000, abs=100)
    # No phrase goes into Chinese, so its questions are never switched.
    chinese = {made(problem(f"q{n}", ("en", "zh", "sw")), run)[0] for n in range(100)}
    assert {g.recipe for g in chinese if g.students[0].language == "zh"} == {
        "instruct",
        "random_cot",
    }


def test_what_no_recipe_fits_is_told():
    context = make_context(settings(random_cot=1), LEXICON, POOL)
    (task,) = plan(problem("a"), context)
    assert make_group(task, context) == "group: no recipe of the mixture fits a question in en"


def test_a_problem_in_no_wanted_language_has_no_task():
    context = make_context(settings(languages=("sw",)), LEXICON, POOL)
    assert len(plan(problem("a"), context)) == 0


languages_of = st.lists(st.sampled_from(("en", "de", "sw", "th", "zh", "bn")), unique=True).map(
    lambda rest: tuple(dict.fromkeys(("en", *rest)))
)


@given(
    st.lists(languages_of, min_size=1, max_size=6),
    st.integers(1, 3),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 2),
    st.randoms(use_true_random=False),
)
def test_groups_do_not_depend_on_order_or_company(spoken, students, teacher, repeat, shots, random):
    run = settings(
        students, teacher, repeat, instruct=1, xicl=1, random_cot=1, demonstrations=shots
    )
    context = make_context(run, LEXICON, POOL)
    problems = [problem(f"q{n}", languages) for n, languages in enumerate(spoken)]
    tasks = list(itertools.chain.from_iterable(plan(p, context) for p in problems))
    expected = {task.id: make_group(task, context) for task in tasks}
    assert len(expected) == len(tasks)
    random.shuffle(tasks)
    for task in tasks:
        assert make_group(task, context) == expected[task.id]
    for task in tasks:
        group = expected[task.id].group
        assert group.id == task.id
        assert len(group.students) <= students
        assert (group.teacher is not None) <= teacher
        for view in group.views:
            assert view.prompt.endswith("\n")
            assert not view.preamble or view.preamble.endswith("\n")
            for spot in view.switches:
                assert view.prompt[spot.start : spot.end].lower().endswith(f"_{view.language}")


def test_seed_changes_what_is_drawn():
    one = problem("a", ("en", "sw", "th"))
    results = {repr(made(one, settings(xicl=1, demonstrations=3, seed=s))) for s in range(5)}
    assert len(results) == 5


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (settings(instruct=0), "every weight is 0"),
        (settings(students=0), "data.students = 0"),
        (settings(xicl=1, languages=("en", "zh")), "has no phrase from en into any of en, zh"),
        (settings(xicl=1, demonstrations=8), "there are only 8 training problems in en"),
        (settings(xicl=1, high=("sw", "en")), "has no phrase from sw"),
        (settings(native=1), "prep.mixture.native > 0: .* set prep.teacher to False"),
        (settings(xicl=1, side="demonstrations"), "switches nothing"),
        (settings(cot={"prompt": "{question} {tongue}\n"}), "'tongue' in braces is not known"),
        (settings(cot={"prompt": "{question}\n"}), "has to hold {question} and {language}"),
    ],
)
def test_settings_that_cannot_work_are_errors(run, message):
    with pytest.raises(InputError, match=message):
        make_context(run, LEXICON, POOL)
