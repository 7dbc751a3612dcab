"""Exported tokenizers: transformers gives the ids that training did, and knows the same prompt."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.chat_models import CHATML, GEMMA, KINDS, WORDS, save
from xcot_jax import prompts
from xcot_jax.data.chat import RENDERING
from xcot_jax.data.tokenizer import load_tokenizer
from xcot_jax.data.tokenizer_export import save_for_transformers
from xcot_jax.data.tokenizer_training import train_sentencepiece
from xcot_jax.errors import InputError

STYLE = prompts.template("question")
CORPUS = [text.replace("12", str(n)) for n in range(40) for text in WORDS]
ANSWER = "So apples: 12 + 7 = 19.\nThe answer is 19."
TEXT = st.text(st.characters(codec="utf-8"))


def train(path, **options):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=path.open("wb"),
        vocab_size=600,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return path


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Our own SentencePiece model, one as Llama 2's, and Hugging Face directories of all kinds."""
    root = tmp_path_factory.mktemp("sources")
    ours = train_sentencepiece(CORPUS, root / "ours.model", 1500, whole_numbers_below=100)
    llama = train(
        root / "llama.model",
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )
    places = {name: save(kind, root / name) for name, kind in KINDS.items()}
    return {"ours": ours.path, "llama": llama, **places}


@pytest.fixture(scope="module")
def exported(sources, tmp_path_factory):
    """Each source, and each chat, as (our tokenizer, transformers' reading of the export)."""
    from transformers import AutoTokenizer

    found = {}
    for name, path in sources.items():
        for chat in ("never", "always") if name in KINDS else ("never",):
            tokenizer = load_tokenizer(path, chat)
            directory = tmp_path_factory.mktemp("exported")
            (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
            save_for_transformers(tokenizer, directory, STYLE)
            found[name, chat] = tokenizer, AutoTokenizer.from_pretrained(directory)
    return found


ALL = [("ours", "never"), ("llama", "never")] + [(k, c) for k in KINDS for c in ("never", "always")]
BASE = [(name, chat) for name, chat in ALL if chat == "never"]


def user(text):
    return [{"role": "user", "content": text}]


def has_special(tokenizer, text):
    return any(name in text for name in tokenizer.special.values())


def check(exported, text):
    tokenizer, reference = exported
    ids = tokenizer.encode(text)
    read = reference(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert read == ids
    assert reference.decode(ids) == tokenizer.decode(ids)
    if not has_special(tokenizer, text) and not tokenizer.chat:
        assert reference(text, split_special_tokens=False)["input_ids"] == tokenizer.prompt_ids(
            text
        )


@pytest.mark.parametrize("which", ALL, ids="-".join)
@given(text=TEXT)
@example(text="小明有3个苹果。他又买了14个。 1234567 মিনার ১৬টি  কলম\n\n")
def test_any_text_has_the_same_ids(exported, which, text):
    # Ours reads the mark that Llama's model has for a space as its bytes, and adds a space.
    check(exported[which], text.replace("\u2581", "") if which[0] == "llama" else text)


@given(text=st.text(st.sampled_from("\u2581 \n0129a<s>/apples小明有个")))
def test_marks_of_spaces_and_numbers_have_the_same_ids(exported, text):
    check(exported["ours", "never"], text)


@pytest.mark.parametrize("which", BASE, ids="-".join)
@given(question=TEXT)
@example(question="Who says \"12\\n\"? '{{ a }}'\n{% if %}")
def test_chat_template_is_our_prompt(exported, which, question):
    tokenizer, reference = exported[which]
    if has_special(tokenizer, question) or "\u2581" in question:
        return
    wanted = tokenizer.prompt_ids(prompts.direct_prompt(STYLE, question))
    for options in ({}, {"add_generation_prompt": True}):
        assert reference.apply_chat_template(user(question), return_dict=False, **options) == wanted
    earlier = [*user("Another?"), {"role": "assistant", "content": "No."}, *user(question)]
    assert reference.apply_chat_template(earlier, return_dict=False) == wanted


def test_chat_template_of_a_whole_conversation_is_what_is_trained(exported):
    tokenizer, reference = exported["ours", "never"]
    question = "How many apples?"
    conversation = [*user(question), {"role": "assistant", "content": ANSWER}]
    assert reference.apply_chat_template(conversation, return_dict=False) == [
        *tokenizer.prompt_ids(prompts.direct_prompt(STYLE, question)),
        *tokenizer.encode(ANSWER),
        tokenizer.eos_id,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_chat_models_keep_their_template_which_renders_by_itself_as_in_training(exported, kind):
    tokenizer, reference = exported[kind, "always"]
    template = KINDS[kind].template
    asks_for_more = any(name in template for name in (*RENDERING, "strftime_now"))
    written = reference.chat_template
    assert written.endswith(template) and (asks_for_more or written == template)
    ids = reference.apply_chat_template(
        user("How many?"), add_generation_prompt=True, return_dict=False
    )
    assert ids == tokenizer.prompt_ids("How many?\n")


@pytest.mark.parametrize("which", ALL, ids="-".join)
def test_the_end_of_sequence_ends_answers(exported, which):
    tokenizer, reference = exported[which]
    assert reference.eos_token_id == tokenizer.eos_id
    if tokenizer.chat:
        assert reference.eos_token == KINDS[which[0]].end


def test_an_export_is_exported_again(exported, sources, tmp_path):
    tokenizer, reference = exported["ours", "never"]
    directory = tmp_path / "again"
    directory.mkdir()
    again = load_tokenizer(reference.name_or_path)
    save_for_transformers(again, directory, STYLE)
    text = "小明有3个苹果。\n"
    assert load_tokenizer(directory).prompt_ids(text) == tokenizer.prompt_ids(text)
    assert (directory / "tokenizer.model").read_bytes() == sources["ours"].read_bytes()


def test_a_directory_without_tokenizer_json_gets_one(sources, tmp_path):
    from transformers import AutoTokenizer

    source = AutoTokenizer.from_pretrained(sources["llama3"])
    tokenizer = load_tokenizer(sources["llama3"])
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "tokenizer_config.json").write_bytes(
        (sources["llama3"] / "tokenizer_config.json").read_bytes()
    )
    moved = dataclasses.replace(tokenizer, path=tmp_path / "bare")
    (tmp_path / "out").mkdir()
    save_for_transformers(moved, tmp_path / "out", STYLE)
    written = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert written("So 12.\n")["input_ids"] == source("So 12.\n")["input_ids"]


def test_tokenizers_that_would_read_otherwise_are_refused(sources, tmp_path):
    # transformers takes any tokenizer beside a Qwen 2 model for one of Qwen's.
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    tokenizer = load_tokenizer(sources["ours"])
    with pytest.raises(InputError, match=r"ours\.model: this tokenizer cannot be written.*model's"):
        save_for_transformers(tokenizer, tmp_path, STYLE)
    assert not (tmp_path / "chat_template.jinja").exists()


def test_models_that_normalise_and_other_types_are_refused(tmp_path):
    (tmp_path / "out").mkdir()
    folding = train(
        tmp_path / "fold.model",
        model_type="bpe",
        byte_fallback=True,
        user_defined_symbols=["\n"],
        add_dummy_prefix=False,
        normalization_rule_name="nmt_nfkc_cf",
    )
    with pytest.raises(InputError, match="'Anna has 12 apples.*' is .* here and would be"):
        save_for_transformers(load_tokenizer(folding), tmp_path / "out", STYLE)
    unigram = train(
        tmp_path / "unigram.model", byte_fallback=True, normalization_rule_name="identity"
    )
    with pytest.raises(InputError, match="model_type=bpe"):
        save_for_transformers(load_tokenizer(unigram), tmp_path / "out", STYLE)


@pytest.mark.parametrize("kind", [CHATML, GEMMA])
def test_the_template_replaced_is_gone_from_all_files(exported, kind, tmp_path):
    source = save(kind, tmp_path / "source")
    config = json.loads((source / "tokenizer_config.json").read_text())
    config["chat_template"] = kind.template  # Where older versions keep it.
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "out").mkdir()
    save_for_transformers(load_tokenizer(source), tmp_path / "out", STYLE)
    written = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert "chat_template" not in written
    assert "Question: " in (tmp_path / "out" / "chat_template.jinja").read_text()
