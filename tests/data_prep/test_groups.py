"""Groups: which views a problem gives under which settings, and that chance has its place."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.code_switch import restore
from data_prep.groups import make_context, make_group, plan, shuffled
from data_prep.lexicon import Entry, build_lexicon
from data_prep.problems import Problem
from data_prep.recipes import RECIPES
from xcot_jax import prompts
from xcot_jax.errors import InputError
from xcot_jax.settings import DataSettings, MixtureSettings, PrepSettings, Settings, XiclSettings

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
    known = {"instruct", "xicl", "random_cot"}
    mixture = {k: float(v) for k, v in recipes.items() if k in known} or {"instruct": 1.0}
    xicl = {k: v for k, v in recipes.items() if k not in known | {"languages", "seed"}}
    prep = PrepSettings(
        teacher=teacher,
        repeat_low_resource=repeat,
        template=template,
        mixture=MixtureSettings(**{"instruct": 0.0, **mixture}),
        xicl=XiclSettings(**xicl),
        **({"languages": recipes["languages"]} if "languages" in recipes else {}),
    )
    return Settings(
        seed=recipes.get("seed", 0),
        high_resource=high,
        data=DataSettings(students=students),
        prep=prep,
    )


def groups_of(one, run, pool=POOL):
    context = make_context(run, LEXICON, pool)
    return [make_group(task, context) for task in plan(one, context)]


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
    group, covered = result.group, result.covered
    shown = [p for p in POOL if p.question["en"] in group.teacher.prompt]
    assert one.id in [p.id for p in shown]  # as the question itself; it is also in the pool
    assert len(shown) == demonstrations + 1
    assert group.teacher.prompt.count("The answer is 3.\n\n") == demonstrations
    assert group.teacher.prompt.endswith(
        prompts.direct_prompt(prompts.template(template), one.question["en"])
    )
    for view, count in zip(group.students, covered, strict=True):
        assert restore(view.prompt, view.switches) == group.teacher.prompt
        assert count == 3 * (demonstrations + 1)
        assert len(view.switches) <= count
        assert rate not in (0, 1) or len(view.switches) == rate * count
        for spot in view.switches:
            switched = view.prompt[spot.start : spot.end].lower()
            assert switched.endswith(f"_{view.language}")
        # Answers are never switched, only questions.
        assert view.prompt.count("So apples p") == demonstrations
        assert view.prompt.count("Sue has 3 ") == demonstrations + 1


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
    assert set(drawn) == set(RECIPES)
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
    assert list(plan(problem("a"), context)) == []


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
    for task in shuffled(tasks, 3):
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
    tasks = list(range(50))
    assert shuffled(tasks, 1) != shuffled(tasks, 2)
    assert sorted(shuffled(tasks, 1)) == tasks


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (settings(instruct=0), "every weight is 0"),
        (settings(students=0), "data.students = 0"),
        (settings(xicl=1, languages=("en", "zh")), "has no phrase from en into any of en, zh"),
        (settings(xicl=1, demonstrations=8), "there are only 8 training problems in en"),
        (settings(xicl=1, high=("sw", "en")), "has no phrase from sw"),
    ],
)
def test_settings_that_cannot_work_are_errors(run, message):
    with pytest.raises(InputError, match=message):
        make_context(run, LEXICON, POOL)
