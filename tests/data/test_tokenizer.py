"""Tokenizers: the same text back, numbers and words as promised, no special token by accident."""

from __future__ import annotations

import pickle

import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from xcot_jax.data.tokenizer import Tokenizer, load_tokenizer
from xcot_jax.data.tokenizer_training import train_sentencepiece
from xcot_jax.errors import InputError

NOUNS = {
    "en": ("apples", "books"),
    "zh": ("苹果", "铅笔"),
    "ja": ("りんご", "鉛筆"),
    "th": ("แอปเปิล", "ดินสอ"),
}
SENTENCES = {
    "en": "Ali has {a} {noun}. He buys {b} more.\nSo {noun} {a} + {b}.",
    "zh": "小明有{a}个{noun}。他又买了{b}个{noun}。",
    "ja": "田中さんは{noun}を{a}個持っています。",
    "th": "มานีมี{noun} {a} ชิ้น เธอซื้อ{noun}อีก {b} ชิ้น",
}
CORPUS = [
    sentence.format(noun=noun, a=a, b=a + 7)
    for code, sentence in SENTENCES.items()
    for noun in NOUNS[code]
    for a in range(60)
]
TEXT = st.text(st.characters(codec="utf-8"))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="module")
def numbers(directory) -> Tokenizer:
    """A SentencePiece model in which 0 to 99 are one token each."""
    return train_sentencepiece(CORPUS, directory / "numbers.model", 2000, whole_numbers_below=100)


@pytest.fixture(scope="module")
def digits(directory) -> Tokenizer:
    return train_sentencepiece(CORPUS, directory / "digits.model", 2000)


def save_byte_level(directory, *, writes_begin=True, **special):
    """A byte-level BPE tokenizer, as Llama 3, Qwen and GPT-2 have, saved the Hugging Face way."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|begin|>", "<|end|>", "<|fill|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    if "bos_token" in special and writes_begin:
        backend.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
        )
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(directory)


@pytest.fixture(scope="module")
def hugging_face(directory) -> Tokenizer:
    save_byte_level(directory / "hf", bos_token="<|begin|>", eos_token="<|end|>")
    return load_tokenizer(directory / "hf")


@pytest.fixture(params=["numbers", "hugging_face"])
def tokenizer(request) -> Tokenizer:
    return request.getfixturevalue(request.param)


TRICKY = (
    "\n\n a  b \t\r\n\u2028 \x00",
    "\u2581 a\u2581\u2581",
    "</s><s><pad><unk><0x0A>",
    "<|end|><|begin|>",
    "\ufffd x \ufffd",
    "1,000 ১৬ ๑๖ 345.50\n",
)


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_text_survives(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert "".join(tokenizer.pieces(ids)) == text
    assert not set(ids) & set(tokenizer.special)


@given(text=TEXT)
def test_any_text_survives_sentencepiece(numbers, text):
    ids = numbers.encode(text)
    assert numbers.decode(ids) == text
    assert len(numbers.pieces(ids)) == len(ids)
    assert "".join(numbers.pieces(ids)) == text
    assert all(0 <= i < numbers.vocab_size and i not in numbers.special for i in ids)


@given(text=TEXT)
def test_any_text_survives_hugging_face(hugging_face, text):
    ids = hugging_face.encode(text)
    assert hugging_face.decode(ids) == text
    assert "".join(hugging_face.pieces(ids)) == text
    assert all(0 <= i < hugging_face.vocab_size and i not in hugging_face.special for i in ids)


@given(prompt=TEXT, answer=TEXT)
@example(prompt="Question: 12 apples?\nAnswer:\n", answer="So apples 12 + 3 = 15.\n")
def test_joined_ids_decode_to_joined_text(numbers, prompt, answer):
    assert numbers.decode(numbers.encode(prompt) + numbers.encode(answer)) == prompt + answer


def test_batch_equals_one_by_one(tokenizer):
    texts = ["", "a\n", *TRICKY, *CORPUS[::50]]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch([]) == []


def test_special_ids(tokenizer):
    ids = tokenizer.encode("a 12\n")
    assert tokenizer.eos_id != tokenizer.pad_id
    assert tokenizer.bos_id is not None
    beyond = tokenizer.vocab_size + 5
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id, beyond]) == "a 12\n"
    end = tokenizer.special[tokenizer.eos_id]
    assert tokenizer.pieces([*ids, tokenizer.eos_id, beyond])[-2:] == [end, f"<{beyond}>"]


def test_prompts_begin_as_the_model_was_trained_to(directory, tokenizer):
    assert tokenizer.prompt_ids("a 12\n") == [tokenizer.bos_id, *tokenizer.encode("a 12\n")]
    # GPT-2 and BLOOM name a token for it and never write it.
    place = directory / "named"
    save_byte_level(place, writes_begin=False, bos_token="<|begin|>", eos_token="<|end|>")
    named = load_tokenizer(place)
    assert named.bos_id is None
    assert named.prompt_ids("a 12\n") == named.encode("a 12\n")


def test_special_tokens_that_are_never_given_need_no_place_in_the_model(directory, hugging_face):
    from transformers import AutoTokenizer

    processor = AutoTokenizer.from_pretrained(hugging_face.path)
    processor.add_special_tokens({"additional_special_tokens": ["<image>"]})
    processor.save_pretrained(directory / "image")
    image = load_tokenizer(directory / "image")
    assert image.vocab_size == hugging_face.vocab_size
    assert max(image.encode("<image>")) < image.vocab_size
    processor.add_tokens(["<think>"])
    processor.save_pretrained(directory / "think")
    think = load_tokenizer(directory / "think")
    assert think.encode("<think>") == [think.vocab_size - 1]


def test_pickled_tokenizer_is_the_same(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert [copy.encode(t) for t in TRICKY] == [tokenizer.encode(t) for t in TRICKY]
    assert copy.fingerprint == tokenizer.fingerprint


def test_fixed_ids_of_trained_models(numbers):
    assert (numbers.pad_id, numbers.bos_id, numbers.eos_id) == (0, 2, 3)
    assert numbers.special == {0: "<pad>", 1: "<unk>", 2: "<s>", 3: "</s>"}


@pytest.mark.parametrize("number", range(100))
def test_whole_numbers_are_one_token_wherever_they_stand(numbers, number):
    [expected] = numbers.encode(str(number))
    for around in ("有{}个", "มี{}ชิ้น", "a{}b", " {}.", "${}\n", "({}+", "₹{}টি"):
        assert numbers.encode(around.format(number)).count(expected) == 1


@given(number=st.integers(100, 10**12))
def test_longer_numbers_are_read_from_the_left(numbers, number):
    text, expected = str(number), []
    while text:
        size = 1 if text[0] == "0" else 2
        expected.append(text[:size])
        text = text[size:]
    assert numbers.pieces(numbers.encode(f"{number}")) == expected


@given(number=st.integers(0, 10**12))
@pytest.mark.parametrize("zero", ["0", "০", "౦", "๐", "０"])
def test_digits_stand_alone_in_every_script(digits, zero, number):
    native = "".join(chr(ord(zero) + int(digit)) for digit in str(number))
    pieces = digits.pieces(digits.encode(f"a{native} b"))
    assert [p for p in pieces if any(c.isdecimal() for c in p)] == list(native)


def test_digits_of_the_corpus_never_join(directory):
    model = train_sentencepiece(["๑๒ ลูก ১২৩ x12"] * 50, directory / "native.model", 2000)
    pieces = [model.processor.id_to_piece(i) for i in range(model.vocab_size)]
    assert not [p for p in pieces if len(p) > 1 and any(c.isdecimal() for c in p) and p[0] != "<"]


@pytest.mark.parametrize("code", ["zh", "ja", "th"])
def test_words_of_unspaced_scripts_are_one_piece_and_not_glued(numbers, code):
    for noun in NOUNS[code]:
        pieces = numbers.pieces(numbers.encode(SENTENCES[code].format(noun=noun, a=3, b=10)))
        assert noun in pieces
    longest = max(numbers.pieces(numbers.encode(" ".join(CORPUS))), key=len)
    assert len(longest) <= len("แอปเปิล")


def test_training_is_repeatable_and_leaves_no_temporary_file(directory, numbers):
    again = train_sentencepiece(iter(CORPUS), directory / "again" / "numbers.model", 2000, 100)
    assert again.path.read_bytes() == numbers.path.read_bytes()
    assert again.fingerprint == numbers.fingerprint
    assert [p.name for p in again.path.parent.iterdir()] == ["numbers.model"]
    other = train_sentencepiece(CORPUS[:100], directory / "other.model", 2000, 100)
    assert other.fingerprint != numbers.fingerprint


def test_training_is_quiet(directory, capfd):
    train_sentencepiece(CORPUS[:50], directory / "quiet.model", 500)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("texts", [["日本"], ["\x00\t\u2581 \ufffd a"], ["a b"]])
def test_tiny_corpora_work(directory, texts):
    model = train_sentencepiece(texts, directory / "tiny.model", 8000)
    assert model.decode(model.encode("a b  c日\n")) == "a b  c日\n"
    assert model.encode(" ") == [model.processor.piece_to_id("\u2581")]


def test_training_failures_say_why(directory):
    path = directory / "failed.model"
    with pytest.raises(InputError, match="raise vocab_size"):
        train_sentencepiece(CORPUS, path, 300, whole_numbers_below=100)
    with pytest.raises(InputError, match="number of their characters"):
        train_sentencepiece(["".join(map(chr, range(0x4E00, 0x4F00)))], path, 300)
    with pytest.raises(InputError, match="is there any"):
        train_sentencepiece(["\n"], path, 300)

    def broken():
        yield "text"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_sentencepiece(broken(), path, 300)
    assert not path.exists()


def test_padding_is_never_the_end(directory):
    save_byte_level(directory / "padded", eos_token="<|end|>", pad_token="<|fill|>")
    padded = load_tokenizer(directory / "padded")
    assert padded.special[padded.pad_id] == "<|fill|>"
    assert padded.bos_id is None
    save_byte_level(directory / "same", eos_token="<|end|>", pad_token="<|end|>")
    same = load_tokenizer(directory / "same")
    assert same.pad_id != same.eos_id
    assert same.pad_id < same.vocab_size


def test_fingerprints_tell_tokenizers_apart(directory, hugging_face):
    save_byte_level(directory / "else", bos_token="<|begin|>", eos_token="<|fill|>")
    assert load_tokenizer(directory / "else").fingerprint != hugging_face.fingerprint
    assert load_tokenizer(directory / "hf").fingerprint == hugging_face.fingerprint


def test_a_model_in_a_directory_is_found(directory, numbers):
    (directory / "data").mkdir()
    (directory / "data" / "tokenizer.model").write_bytes(numbers.path.read_bytes())
    assert load_tokenizer(str(directory / "data")).fingerprint == numbers.fingerprint


def train_plain(path, **options):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=path.open("wb"),
        vocab_size=500,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
        **options,
    )


def test_llama_like_model(directory):
    path = directory / "llama.model"
    train_plain(
        path, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False
    )
    model = load_tokenizer(path)
    assert (model.pad_id, model.bos_id, model.eos_id) == (0, 1, 2)
    assert model.decode(model.encode("So apples 3 + 4 = 7.\n")) == "So apples 3 + 4 = 7.\n"


def test_unusable_tokenizers_are_refused_with_a_reason(directory):
    with pytest.raises(InputError, match="does not exist"):
        load_tokenizer(directory / "nowhere")
    (directory / "empty").mkdir()
    with pytest.raises(InputError, match="none of tokenizer.json"):
        load_tokenizer(directory / "empty")
    (directory / "broken.model").write_bytes(b"no model")
    with pytest.raises(InputError, match="not a SentencePiece model"):
        load_tokenizer(directory / "broken.model")
    save_byte_level(directory / "broken", eos_token="<|end|>")
    (directory / "broken" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="cannot load"):
        load_tokenizer(directory / "broken")
    save_byte_level(directory / "endless")
    with pytest.raises(InputError, match="end-of-sequence"):
        load_tokenizer(directory / "endless")
    train_plain(directory / "no_eos.model", eos_id=-1)
    with pytest.raises(InputError, match="end-of-sequence"):
        load_tokenizer(directory / "no_eos.model")
    train_plain(directory / "t5.model")
    with pytest.raises(InputError, match="line breaks"):
        load_tokenizer(directory / "t5.model")
