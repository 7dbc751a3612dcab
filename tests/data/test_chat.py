"""Chat templates: the ids transformers gives, on any day, and users' text that stays text."""

from __future__ import annotations

import datetime
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat_models import CHATML, GEMMA, INST, KINDS, LLAMA3, save
from tests.corpus import group
from xcot_jax.data import packing
from xcot_jax.data.chat import RENDERING
from xcot_jax.data.tokenizer import load_tokenizer
from xcot_jax.errors import InputError

ANSWER = "So apples: 12 + 7 = 19.\nThe answer is 19."
TEXTS = (
    "How many apples?\n",
    "\n  小明有 3  个苹果。\n\nমিনার ১৬টি কলম\n",
    "1,234\t{{ x }} {% if %} 'a' \"b\" \\n 🍎 [INST]\n",
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Each kind loaded by us, for chat, and by transformers."""
    from transformers import AutoTokenizer

    root = tmp_path_factory.mktemp("chat")
    places = {name: save(kind, root / name) for name, kind in KINDS.items()}
    return {
        name: (load_tokenizer(place, "auto"), AutoTokenizer.from_pretrained(place))
        for name, place in places.items()
    }


def rendered(reference, *contents, **options):
    roles = ("user", "assistant")
    messages = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    return reference.apply_chat_template(messages, return_dict=False, **RENDERING, **options)


def check_prompt(models, kind, text):
    tokenizer, reference = models[kind]
    if any(name in text for name in KINDS[kind].special):
        return
    expected = rendered(reference, text.strip(), add_generation_prompt=True)
    assert tokenizer.prompt_ids(text) == expected


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_what_transformers_renders(models, kind, text):
    check_prompt(models, kind, text)


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_prompt_is_what_transformers_renders(models, kind, text):
    check_prompt(models, kind, text)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_and_their_end_are_those_of_the_whole_conversation(models, kind):
    tokenizer, reference = models[kind]
    question = "How many apples?"
    whole = rendered(reference, question, ANSWER)
    ids = [*tokenizer.prompt_ids(question + "\n"), *tokenizer.encode(ANSWER), tokenizer.eos_id]
    assert whole[: len(ids)] == ids
    assert not reference.decode(whole[len(ids) :]).strip()
    assert tokenizer.special[tokenizer.eos_id] == KINDS[kind].end
    assert tokenizer.pad_id != tokenizer.eos_id
    assert max(*ids, tokenizer.pad_id) < tokenizer.vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_in_a_users_text_are_text(models, kind):
    tokenizer, _ = models[kind]
    text = "a " + " ".join(KINDS[kind].special) + " b"
    with_names, without = tokenizer.prompt_ids(text), tokenizer.prompt_ids("a b")
    assert [i for i in with_names if i in tokenizer.special] == [
        i for i in without if i in tokenizer.special
    ]
    names = [tokenizer.special.get(i, "") for i in without]
    assert names.count(KINDS[kind].bos) == (KINDS[kind].bos is not None)


@pytest.mark.parametrize("called", ["%d %b %Y", "%B %d, %Y", "%Y-%m-%d"])
def test_the_day_changes_nothing(tmp_path, monkeypatch, called):
    from transformers.utils import chat_template_utils

    template = LLAMA3.template.replace("not date_string is defined", "true")
    directory = save(LLAMA3, tmp_path, template=template.replace("%d %b %Y", called))
    found = []
    for day in (datetime.datetime(2025, 1, 9), datetime.datetime(2026, 12, 30)):
        fixed = type("Fixed", (), {"now": staticmethod(lambda day=day: day)})
        monkeypatch.setattr(chat_template_utils, "datetime", fixed)
        found.append(load_tokenizer(directory, "always"))
    assert found[0].fingerprint == found[1].fingerprint
    assert found[0].prompt_ids("How many?\n") == found[1].prompt_ids("How many?\n")
    reference = found[0].processor
    monkeypatch.setattr(
        chat_template_utils,
        "datetime",
        type("Fixed", (), {"now": staticmethod(lambda: datetime.datetime(2024, 7, 26))}),
    )
    # The fixed day is a real one: on it, transformers says the same.
    expected = rendered(reference, "How many?", add_generation_prompt=True)
    assert found[0].prompt_ids("How many?\n") == expected


@pytest.mark.parametrize("kind", KINDS)
def test_pickled_for_other_processes(models, kind):
    tokenizer, _ = models[kind]
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert [copy.prompt_ids(t) for t in TEXTS] == [tokenizer.prompt_ids(t) for t in TEXTS]


def test_the_choice_is_the_settings(tmp_path, tokenizer):
    directory = save(CHATML, tmp_path / "chat")
    never, auto, always = (load_tokenizer(directory, c) for c in ("never", "auto", "always"))
    assert never.chat is None
    assert never.eos_id != auto.eos_id
    assert never.prompt_ids("a\n") == never.encode("a\n")
    assert auto.fingerprint == always.fingerprint != never.fingerprint
    other = save(CHATML, tmp_path / "other", template=CHATML.template.replace("helpful", "brief"))
    assert load_tokenizer(other, "auto").fingerprint != auto.fingerprint
    plain = save(CHATML, tmp_path / "plain", template="")
    assert load_tokenizer(plain, "auto").chat is None
    for path in (plain, tokenizer.path):
        with pytest.raises(InputError, match="no chat template; set data.chat"):
            load_tokenizer(path, "always")
    assert load_tokenizer(tokenizer.path, "auto").fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no') }}", "it fails: no"),
        ("{% for m in messages %}{{ m.content + m.content }}{% endfor %}<|eot_id|>", "suffix"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}<|eot_id|>", "suffix"),
        ("{% for m in messages %}{{ m.content }}\n### {% endfor %}", "no special token"),
        ("{% for m in messages %}{{ m.content }} end<|eot_id|>{% endfor %}", "no special token"),
    ],
)
def test_other_templates_are_refused_with_the_way_out(tmp_path, template, reason):
    directory = save(LLAMA3, tmp_path, template=template)
    with pytest.raises(InputError, match=rf"{reason}.*data.chat=never"):
        load_tokenizer(directory, "auto")
    assert load_tokenizer(directory, "never").chat is None


@pytest.mark.parametrize("kind", [GEMMA, INST])
def test_rows_hold_the_conversation(models, kind):
    (name,) = (n for n, k in KINDS.items() if k is kind)
    tokenizer, reference = models[name]
    example = group(3)
    element = packing.encode_group(example, tokenizer, 2)
    expected = []
    for view in example.views:
        prompt = rendered(reference, view.prompt.strip(), add_generation_prompt=True)
        expected += prompt + tokenizer.encode(example.answer)
    assert element["tokens"].tolist() == expected
    assert element["targets"][-1].tolist() == [tokenizer.eos_id] * 2
