"""Real encoder-decoders, tiny but trained, through the code path that loads NLLB and MADLAD."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the seq2seq extra is not installed")

from data_prep.translation import sentences
from data_prep.translation.families import FAMILIES
from data_prep.translation.requests import Refusal, Request
from data_prep.translation.seq2seq import Seq2Seq
from data_prep.translation.stage import Translations
from tests.data_prep.translation import checkpoints as translation_checkpoints
from tests.data_prep.translation.checkpoints import SENTENCES
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.settings import PrepSettings, Seq2SeqSettings, Settings, TranslateSettings

TARGETS = ("de", "sw", "zh")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A directory of each family, by name."""
    directories = {}
    for name in ("nllb", "m2m100", "madlad"):
        directories[name] = tmp_path_factory.mktemp(name)
        getattr(translation_checkpoints, name)(directories[name])
    return directories


@pytest.fixture(params=["nllb", "madlad"])
def checkpoint(request, checkpoints):
    """A trained checkpoint of either family."""
    return checkpoints[request.param]


def settings(directory, **changes):
    seq2seq = Seq2SeqSettings(**{"checkpoint": str(directory), "max_new_tokens": 40} | changes)
    translate = TranslateSettings(backend="seq2seq", seq2seq=seq2seq)
    return Settings(prep=PrepSettings(translate=translate))


def translated(directory, requests, **changes):
    return dict(Seq2Seq(settings(directory, **changes)).translate(requests))


def every_text():
    """One, two and three sentences, and two lines, into every language."""
    texts = {}
    for target in TARGETS:
        between = "" if target == "zh" else " "
        for numbers in ((0,), (1,), (2,), (0, 2), (2, 1), (2, 0, 1)):
            english = " ".join(SENTENCES["en"][n] for n in numbers)
            right = between.join(SENTENCES[target][n] for n in numbers)
            texts[Request(english, "en", target)] = right
        lines = "\n".join(SENTENCES["en"])
        texts[Request(lines, "en", target)] = "\n".join(SENTENCES[target])
    return texts


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("beams", [1, 3])
def test_texts_are_translated_sentence_by_sentence_in_batches_of_any_size(
    checkpoint, batch_size, beams
):
    expected = every_text()
    found = translated(checkpoint, tuple(expected), batch_size=batch_size, beams=beams)
    assert found == expected


def test_whole_texts_are_translated_at_once_if_wanted(checkpoint):
    two = Request(" ".join(SENTENCES["en"][:2]), "en", "de")
    whole = translated(checkpoint, [two], by_sentence=False)[two]
    # It has learnt single sentences only, so it cannot have both right.
    assert whole != translated(checkpoint, [two])[two]


@pytest.mark.parametrize(("name", "family"), [("nllb", "NLLB-200"), ("m2m100", "M2M100")])
def test_the_first_token_is_the_target_language(checkpoints, name, family):
    backend = Seq2Seq(settings(checkpoints[name], max_new_tokens=4))
    generated = []
    generate = backend._model.generate

    def recorded(**options):
        generated.append(generate(**options))
        return generated[-1]

    backend._model.generate = recorded
    for target in FAMILIES[family].languages:
        dict(backend.translate([Request("How many are left?", "en", target)]))
        token = backend._tokenizer.convert_ids_to_tokens(generated[-1][0].tolist())[1]
        assert token == FAMILIES[family].token_of(target)


def test_a_model_without_a_language_says_so(checkpoints):
    m2m100 = Seq2Seq(settings(checkpoints["m2m100"]))
    m2m100.check("en", "sw")
    with pytest.raises(InputError, match=r"no token for Telugu.*prep\.languages"):
        m2m100.check("en", "te")
    madlad = Seq2Seq(settings(checkpoints["madlad"]))
    with pytest.raises(InputError, match="no token for Bengali"):
        list(madlad.translate([Request("a", "en", "bn")]))


def test_what_does_not_fit_is_refused_and_the_rest_is_not(checkpoint, tmp_path):
    good = Request(SENTENCES["en"][0], "en", "de")
    long = Request("many cups " * 100, "en", "de")
    run = settings(checkpoint)
    if "nllb" in checkpoint.name:
        with Translations.open(run, tmp_path / "c.sqlite") as translations:
            counts = translations.make([good, long], "translate de")
            assert counts == {"made": 1, "refused: longer than the model reads": 1}
            assert translations.find(good) == SENTENCES["de"][0]
    assert translated(checkpoint, [good], max_new_tokens=3)[good].reason == "translation cut off"
    empty = Request(" \n ", "en", "de")
    assert translated(checkpoint, [empty])[empty] == Refusal("empty translation")


def test_the_cache_is_of_the_weights_and_the_search_not_of_the_place(checkpoint, tmp_path):
    identity = Seq2Seq(settings(checkpoint)).identity
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    assert Seq2Seq(settings(copy, batch_size=3, device="cpu")).identity == identity
    for change in ({"beams": 2}, {"by_sentence": False}, {"dtype": "bfloat16"}):
        assert Seq2Seq(settings(copy, **change)).identity != identity
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert Seq2Seq(settings(copy)).identity != identity


def test_bfloat16_translates(checkpoint):
    request = Request(SENTENCES["en"][2], "en", "sw")
    assert translated(checkpoint, [request], dtype="bfloat16")[request] == SENTENCES["sw"][2]


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (None, {"nllb": "CC-BY-NC-4.0: not for commercial use", "madlad": "names no licence"}),
        ("---\nlicense: apache-2.0\ntags:\n- x\n---\n# Hi", "licence apache-2.0"),
        ('---\nlicense: "cc-by-nc-4.0"\n---\n', "licence cc-by-nc-4.0: not for commercial use"),
        ("# Hi\nlicense: mit\n", {"nllb": "CC-BY-NC-4.0", "madlad": "names no licence"}),
        ("---\nlicense: other\nlicense_name: house\n---\n", "licence other house"),
    ],
)
def test_the_licence_is_said_aloud(checkpoint, tmp_path, capsys, card, words):
    copy = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, copy)
    if card:
        (copy / "README.md").write_text(card)
    backend = Seq2Seq(settings(copy))
    if isinstance(words, dict):
        words = next(text for name, text in words.items() if name in checkpoint.name)
    assert words in backend.provenance
    assert capsys.readouterr().out.count(backend.provenance) == 1


_FROM_THE_HUB = """
import sys
sys.path.insert(0, sys.argv[1])
from data_prep.translation.requests import Request
from data_prep.translation.seq2seq import Seq2Seq
from tests.data_prep.translation.test_seq2seq import settings
backend = Seq2Seq(settings("some/model"))
print(backend.identity)
print(dict(backend.translate([Request(sys.argv[2], "en", "de")])))
"""


def test_a_name_on_the_hub_is_known_by_its_commit(checkpoints, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "hub" / "models--some--model"
    shutil.copytree(checkpoints["nllb"], model / "snapshots" / commit)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    root = str(Path(__file__).parents[3])
    result = subprocess.run(
        [sys.executable, "-c", _FROM_THE_HUB, root, SENTENCES["en"][0]],
        env=os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert f"some/model@{commit}" in result.stdout
    assert SENTENCES["de"][0] in result.stdout


def test_every_language_has_its_code():
    assert set(FAMILIES["NLLB-200"].languages) == set(FAMILIES["MADLAD-400"].languages)
    assert tuple(FAMILIES["NLLB-200"].languages) == CODES
    from transformers.models.m2m_100 import tokenization_m2m_100
    from transformers.models.nllb import tokenization_nllb

    known = set(tokenization_nllb.FAIRSEQ_LANGUAGE_CODES)
    assert set(FAMILIES["NLLB-200"].languages.values()) <= known
    known = set(tokenization_m2m_100.FAIRSEQ_LANGUAGE_CODES["m2m100"])
    assert set(FAMILIES["M2M100"].languages.values()) == known & set(CODES)


def test_what_is_no_checkpoint(tmp_path, checkpoint):
    with pytest.raises(InputError, match="checkpoint is empty"):
        Seq2Seq(settings(""))
    with pytest.raises(InputError, match="neither a directory"):
        Seq2Seq(settings(tmp_path))
    copy = tmp_path / "other"
    shutil.copytree(checkpoint, copy)
    config = copy / "config.json"
    kind = "t5" if "madlad" in checkpoint.name else "m2m_100"
    config.write_text(config.read_text().replace(f'"{kind}"', '"marian"'))
    with pytest.raises(InputError, match="type 'marian'.*NLLB-200"):
        Seq2Seq(settings(copy))


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"torch: pip install 'xcot-jax\[seq2seq\]'"):
        Seq2Seq(settings("x"))


def test_sentences_are_cut_where_they_end():
    text = "Mr. Bo and Dr. A. B. Lee paid $3.50. In the U.S. Army, he did!  Is No. 5 it?\n\n5."
    lines = [
        ["Mr. Bo and Dr. A. B. Lee paid $3.50.", "In the U.S. Army, he did!", "Is No. 5 it?"],
        [],
        ["5."],
    ]
    assert sentences.split(text, "en") == lines
    assert sentences.join(lines, "sw") == text.replace("  ", " ")
    assert sentences.join([["a。", "b。"]], "zh") == "a。b。"
    assert sentences.join([["ก", "ข"]], "th") == "ก ข"
    assert sentences.split("小明有3个苹果。还剩几个？", "zh") == [["小明有3个苹果。", "还剩几个？"]]
