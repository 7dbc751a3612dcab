"""Groups to rows: slots predict what they should, packing changes nothing, resume is exact."""

from __future__ import annotations

import dataclasses
import re
import unicodedata

import grain
import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat_models import INST, save
from tests.corpus import group
from xcot_jax.data import packing
from xcot_jax.data.tokenizer import load_tokenizer
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES

COLUMNS = 3


def predictions(element, tokenizer):
    """Every (language, predicting token's prefix, target, weight) an encoded group trains."""
    tokens, found = element["tokens"].tolist(), []
    starts = np.flatnonzero(element["positions"] == 0)
    for slot, column in np.argwhere(element["ce_weight"] > 0):
        position = element["slot_positions"][slot, column]
        start = starts[starts <= position].max()
        prefix = tuple(tokens[start : position + 1])
        language = CODES[element["languages"][slot, column]]
        found.append((language, prefix, int(element["targets"][slot, column])))
    return found


def expected(example, tokenizer):
    """The same by the definition: each response token of each view, after all before it."""
    found = []
    answer = [*tokenizer.encode(example.answer), tokenizer.eos_id]
    for view in example.views:
        prompt = [tokenizer.bos_id, *tokenizer.encode(view.prompt)]
        response = [*(tokenizer.encode(view.preamble) if view.preamble else ()), *answer]
        for index, target in enumerate(response):
            found.append((view.language, tuple(prompt + response[:index]), target))
    return found


@pytest.mark.parametrize("teacher", [True, False])
@pytest.mark.parametrize("students", [1, 2])
@pytest.mark.parametrize("preamble", [True, False])
def test_slots_train_every_response_token_once(tokenizer, teacher, students, preamble):
    example = group(3, teacher=teacher, students=students, preamble=preamble)
    element = packing.encode_group(example, tokenizer, COLUMNS)
    assert sorted(predictions(element, tokenizer)) == sorted(expected(example, tokenizer))


def test_teacher_and_students_predict_the_same_token_in_a_slot(tokenizer):
    element = packing.encode_group(group(1, students=2, preamble=True), tokenizer, COLUMNS)
    distilled = element["kd_weight"] > 0
    assert distilled.sum() == 2 * (len(tokenizer.encode(group(1).answer)) + 1)
    teacher = np.broadcast_to(element["targets"][:, :1], distilled.shape)
    np.testing.assert_array_equal(element["targets"][:, 1:][distilled], teacher[distilled])
    # The end of the answer is trained and distilled like any other token.
    assert tokenizer.eos_id in element["targets"][:, 0]


def test_a_lone_row_is_what_the_packer_makes_of_one_group(tokenizer):
    element = packing.encode_group(group(2, students=2, preamble=True), tokenizer, COLUMNS, 7)
    alone = grain.MapDataset.source([element]).to_iter_dataset()
    (packed,) = packing.pack(alone, row_tokens=256, row_slots=128, bins=1, seed=0)
    row = packing.lone_row(element, 256, 128)
    assert row.keys() == packed.keys()
    for name, values in row.items():
        np.testing.assert_array_equal(values, packed[name], err_msg=name)


def test_students_and_preambles_may_have_less_cross_entropy_or_none(tokenizer):
    example = group(1, students=2, preamble=True)
    whole = packing.encode_group(example, tokenizer, COLUMNS)
    some = packing.encode_group(example, tokenizer, COLUMNS, student_ce=0.25, preamble_ce=0.5)
    none = packing.encode_group(example, tokenizer, COLUMNS, student_ce=0.0, preamble_ce=0.0)
    shared = (whole["kd_weight"] > 0).any(axis=-1)
    assert 0 < shared.sum() < len(shared)
    for element, student, preamble in ((some, 0.25, 0.5), (none, 0.0, 0.0)):
        for name in ("tokens", "slot_positions", "targets", "languages", "kd_weight"):
            np.testing.assert_array_equal(element[name], whole[name])
        weight = np.where(shared[:, None], student, preamble) * whole["ce_weight"]
        weight[shared, 0] = 1.0
        np.testing.assert_array_equal(element["ce_weight"], weight.astype(np.float32))
    (row,) = rows_of([none], bins=1, row_tokens=256)
    (full,) = rows_of([whole], bins=1, row_tokens=256)
    learnt = (full["ce_weight"] > 0) & np.pad(full["kd_weight"] > 0, ((0, 0), (1, 0)), mode="edge")
    # What is only distilled keeps its place in the row and its language.
    for name in ("slot_positions", "languages"):
        np.testing.assert_array_equal(row[name][learnt], full[name][learnt])
    np.testing.assert_array_equal(packing.predicted(row), learnt)


def test_without_a_teacher_nothing_is_distilled_and_columns_are_full(tokenizer):
    element = packing.encode_group(group(2, teacher=False), tokenizer, COLUMNS)
    assert not element["kd_weight"].any()
    assert (element["ce_weight"] == 0).sum() < COLUMNS


def test_too_many_students_are_an_error(tokenizer):
    with pytest.raises(InputError, match="data.students"):
        packing.encode_group(group(1, students=2), tokenizer, 2)


def lettered(directory, normalizer):
    """A tokenizer of ASCII's characters and an accent, behind a normaliser."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = ["<unk>", "</s>", "\n", "\u0301", *map(chr, range(32, 127))]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, "<unk>"))
    if normalizer == "Spaces":
        backend.normalizer = normalizers.Replace(Regex(" +"), " ")
    elif normalizer:
        backend.normalizer = getattr(normalizers, normalizer)()
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(directory)
    return load_tokenizer(directory)


@pytest.mark.parametrize(
    ("normalizer", "answer", "read_back"),
    [
        (None, "So 2 \u20ac.", "So 2 ."),
        ("Lowercase", "So 2.", "so 2."),
        ("NFKC", "So \uff12.", "So 2."),
        ("Spaces", "So  2.", "So 2."),
        ("Spaces", "   So 2.", " So 2."),
    ],
)
def test_answers_that_are_not_given_back_are_an_error(tmp_path, normalizer, answer, read_back):
    lossy = lettered(tmp_path, normalizer)
    example = dataclasses.replace(group(1), answer=answer)
    message = f"group group-1: .* turns the answer .* into {re.escape(repr(read_back))}.*prep"
    with pytest.raises(InputError, match=message):
        packing.encode_group(example, lossy, COLUMNS)


def test_answers_in_other_code_points_are_trained(tmp_path):
    decomposing = lettered(tmp_path, "NFD")
    for answer in ("So 2 caf\u00e9s.\n", "So 2 cafe\u0301s."):
        example = dataclasses.replace(group(1), answer=answer)
        element = packing.encode_group(example, decomposing, COLUMNS)
        ids = element["targets"][:-1, 0].tolist()
        assert decomposing.decode(ids) == unicodedata.normalize("NFD", answer)


@pytest.mark.parametrize("answer", ["So 3 + 4 = 7.\n", " So  7.", "  So 7", "\nSo \u9999", ""])
def test_a_space_put_in_front_of_answers_is_no_loss(tmp_path, answer):
    with (tmp_path / "llama.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["So 3 + 4 = 7. So apples."] * 9),
            model_writer=file,
            model_type="bpe",
            vocab_size=300,
            hard_vocab_limit=False,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            minloglevel=2,
        )
    # The conversion for transformers reads " So" and "So" as the same.
    for place in (tmp_path / "llama.model", save(INST, tmp_path / "converted")):
        llama = load_tokenizer(place)
        example = dataclasses.replace(group(1), answer=answer)
        element = packing.encode_group(example, llama, COLUMNS)
        ids = element["targets"][:-1, 0].tolist()
        assert llama.decode(ids) in (answer, answer.removeprefix(" "))


def rows_of(elements, *, row_tokens=96, row_slots=40, bins=4):
    dataset = grain.MapDataset.source(elements).to_iter_dataset()
    return list(
        packing.pack(dataset, row_tokens=row_tokens, row_slots=row_slots, bins=bins, seed=0)
    )


@settings(max_examples=30, deadline=None)
@given(
    kinds=st.lists(
        st.tuples(st.integers(0, 50), st.booleans(), st.booleans()), min_size=1, max_size=12
    ),
    bins=st.integers(1, 5),
)
def test_packing_moves_groups_but_loses_and_mixes_nothing(tokenizer, kinds, bins):
    elements = [
        packing.encode_group(
            group(n, teacher=teacher, preamble=preamble), tokenizer, COLUMNS, record
        )
        for record, (n, teacher, preamble) in enumerate(kinds)
    ]
    wanted = sorted(p for e in elements for p in predictions(e, tokenizer))
    rows = rows_of(elements, row_tokens=256, row_slots=120, bins=bins)
    found = []
    for row in rows:
        segments, positions = row["segment_ids"], row["positions"]
        assert np.all(np.diff(segments[segments > 0]) >= 0)
        assert np.all(positions[segments == 0] == 0)
        # Within a view positions count up from 0: nothing of another view is in between.
        for segment in range(1, segments.max() + 1):
            where = np.flatnonzero(segments == segment)
            np.testing.assert_array_equal(positions[where], np.arange(len(where)))
            np.testing.assert_array_equal(np.diff(where), 1)
        found += predictions(row, tokenizer)
    assert sorted(found) == wanted
    records = np.concatenate([row["records"] for row in rows])
    assert sorted(records[records >= 0]) == list(range(len(kinds)))


def test_empty_entries_point_nowhere(tokenizer):
    (row,) = rows_of([packing.encode_group(group(0), tokenizer, COLUMNS)], bins=1, row_tokens=128)
    empty = row["ce_weight"] == 0
    assert empty.any()
    assert not row["slot_positions"][empty].any()
    assert (row["languages"][empty] == packing.NO_LANGUAGE).all()
