"""Groups to tokens, segments and loss slots; whole groups to packed rows.

A group becomes two ragged features, its tokens (all views one after another) and its loss slots,
which Grain packs into one row under separate capacities. A row keeps views apart by segment ids,
and its slots by offsets into the row.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np
from jaxtyping import Array, Int

from xcot_jax.data.records import ParallelGroup
from xcot_jax.data.tokenizer import Tokenizer
from xcot_jax.errors import InputError
from xcot_jax.languages import CODES
from xcot_jax.losses import LossSlots
from xcot_jax.pytree import pytree

Ragged = dict[str, np.ndarray]
NO_LANGUAGE = len(CODES)  # The language index of an empty slot entry.


@pytree
class Batch:
    """Packed rows: arrays on devices, or NumPy's on the host that is about to place them there.

    Attributes:
      tokens: token ids, 0 where the row is empty.
      positions: index of each token in its view.
      segment_ids: 1, 2, ... for the views of the row, 0 where it is empty.
      slots: what is predicted where.
      languages: index into `languages.CODES` of each slot entry's view; `NO_LANGUAGE` if empty.
    """

    tokens: Int[Array | np.ndarray, "*A B T"]
    positions: Int[Array | np.ndarray, "*A B T"]
    segment_ids: Int[Array | np.ndarray, "*A B T"]
    slots: LossSlots
    languages: Int[Array | np.ndarray, "*A B S C"]


def encode_group(
    group: ParallelGroup,
    tokenizer: Tokenizer,
    columns: int,
    record: int = 0,
    *,
    student_ce: float = 1.0,
    preamble_ce: float = 1.0,
) -> Ragged:
    """Tokenizes a group and lays out its loss slots.

    Prompt, preamble and answer are tokenized apart, so that the answer's ids are the same in all
    views, and they are read back to see that they are the answer's text. With a teacher, slot j
    predicts answer token j: column 0 under the teacher, columns 1.. under the students. Targets
    without a counterpart (preambles, groups without a teacher) fill columns in turn.

    Args:
      group: what to encode.
      tokenizer: gives ids; its end-of-sequence token ends every answer and is predicted.
      columns: slot columns C; a group with a teacher has at most C - 1 students.
      record: number of the record, carried along.
      student_ce: weight of the cross-entropy of answers under students that have a teacher; at 0
        these learn from it alone, as from unlabelled questions.
      preamble_ce: weight of the cross-entropy of preambles.

    Returns:
      `tokens, positions` [n]; `slot_positions, targets, languages, ce_weight` [s, C];
      `kd_weight` [s, C - 1]; `records` [1].

    Raises:
      InputError: for more students than columns, an empty prompt, or an answer that the tokenizer
        cannot give back.
    """
    if group.teacher and len(group.students) >= columns:
        raise InputError(
            f"group {group.id} has {len(group.students)} students but data.students is "
            f"{columns - 1}; set data.students to what the dataset was prepared with"
        )
    answer = [*_answer_ids(group, tokenizer), tokenizer.eos_id]
    tokens: list[int] = []
    positions: list[int] = []
    answers: list[tuple[int, int]] = []  # (position predicting the first answer token, language)
    loose: list[tuple[int, int, int, float]] = []  # (position, target, language, weight)
    for view in group.views:
        code = CODES.index(view.language)
        prompt = tokenizer.prompt_ids(view.prompt)
        preamble = tokenizer.encode(view.preamble) if view.preamble else []
        if not prompt:
            raise InputError(f"group {group.id}: the {view.language} prompt has no tokens")
        start = len(tokens)
        view_tokens = prompt + preamble + answer[:-1]
        tokens += view_tokens
        positions += range(len(view_tokens))
        predicts = start + len(prompt) - 1
        loose += [(predicts + i, target, code, preamble_ce) for i, target in enumerate(preamble)]
        answers.append((predicts + len(preamble), code))

    if group.teacher is None:
        for first, code in answers:
            loose += [(first + i, target, code, 1.0) for i, target in enumerate(answer)]
        answers = []
    shared = len(answer) if answers else 0
    count = shared + -(-len(loose) // columns)
    slot_positions = np.zeros((count, columns), np.int32)
    targets = np.zeros((count, columns), np.int32)
    languages = np.full((count, columns), NO_LANGUAGE, np.int32)
    ce_weight = np.zeros((count, columns), np.float32)
    kd_weight = np.zeros((count, columns - 1), np.float32)
    for column, (first, code) in enumerate(answers):
        slot_positions[:shared, column] = np.arange(first, first + shared)
        targets[:shared, column] = answer
        languages[:shared, column] = code
        ce_weight[:shared, column] = student_ce if column else 1.0
        if column:
            kd_weight[:shared, column - 1] = 1.0
    if loose:
        fields = slot_positions, targets, languages, ce_weight
        for field, values in zip(fields, zip(*loose, strict=True), strict=True):
            field[shared:].reshape(-1)[: len(loose)] = values
    return {
        "tokens": np.array(tokens, np.int32),
        "positions": np.array(positions, np.int32),
        "slot_positions": slot_positions,
        "targets": targets,
        "languages": languages,
        "ce_weight": ce_weight,
        "kd_weight": kd_weight,
        "records": np.array([record], np.int64),
    }


def _answer_ids(group: ParallelGroup, tokenizer: Tokenizer) -> list[int]:
    """The ids of a group's answer, which have to decode to it.

    A space in front may come or go, as in models that begin every text with one, and letters may be
    composed of other code points (Unicode's NFC): that reads the same.
    """
    ids = tokenizer.encode(group.answer)
    if (read_back := tokenizer.decode(ids)) == group.answer:
        return ids
    found, wanted = (unicodedata.normalize("NFC", text) for text in (read_back, group.answer))
    if found not in (wanted, wanted.removeprefix(" "), f" {wanted}"):
        raise InputError(
            f"group {group.id}: the tokenizer {tokenizer.path} turns the answer {group.answer!r} "
            f"into {read_back!r}, which is what the model would learn to say; choose one that "
            "keeps text as it is (xcot prep trains one with prep.tokenizer.train=True)"
        )
    return ids


_SLOT_FEATURES = ("slot_positions", "targets", "languages", "ce_weight", "kd_weight")


def capacities(row_tokens: int, row_slots: int) -> dict[str, int]:
    """Length of each feature in a packed row; a row holds at most one group per 4 tokens."""
    lengths = {"tokens": row_tokens, "positions": row_tokens, "records": max(row_tokens // 4, 1)}
    return lengths | dict.fromkeys(_SLOT_FEATURES, row_slots)


def fits(element: Ragged, row_tokens: int, row_slots: int) -> bool:
    """Whether an encoded group fits into one row."""
    return len(element["tokens"]) <= row_tokens and len(element["targets"]) <= row_slots


def pack(
    dataset: grain.IterDataset, *, row_tokens: int, row_slots: int, bins: int, seed: int
) -> grain.IterDataset:
    """Packs encoded groups, first fit into `bins` rows at a time, in shuffled row order.

    Elements of the result are the rows of `finish_row`.
    """
    packed = grain.experimental.FirstFitPackIterDataset(
        dataset,
        length_struct=capacities(row_tokens, row_slots),
        num_packing_bins=bins,
        seed=seed,
        shuffle_bins=True,
    )
    return packed.map(finish_row)


def lone_row(element: Ragged, row_tokens: int, row_slots: int) -> Ragged:
    """A row that holds one encoded group, which has to fit, and nothing else."""
    row = {}
    for name, length in capacities(row_tokens, row_slots).items():
        value = element[name]
        row[name] = np.zeros((length, *value.shape[1:]), value.dtype)
        row[name][: len(value)] = value
        row[f"{name}_segment_ids"] = (np.arange(length) < len(value)).astype(np.int32)
    return finish_row(row)


def finish_row(row: Mapping[str, Any]) -> Ragged:
    """Turns Grain's packed features of one row into segments and row-wide slot positions."""
    group_of_token = row["tokens_segment_ids"]
    group_of_slot = row["targets_segment_ids"]
    # A view begins wherever positions restart; empty tokens have group 0.
    begins = (row["positions"] == 0) & (group_of_token > 0)
    segment_ids = np.cumsum(begins).astype(np.int32) * (group_of_token > 0)
    groups = np.arange(group_of_slot.max(initial=0) + 1)
    starts = np.searchsorted(np.where(group_of_token > 0, group_of_token, len(groups)), groups)
    used = predicted(row)
    offset = np.where(group_of_slot > 0, starts[group_of_slot], 0).astype(np.int32)
    return {
        "tokens": row["tokens"],
        "positions": row["positions"],
        "segment_ids": segment_ids,
        "slot_positions": np.where(used, row["slot_positions"] + offset[:, None], 0),
        "targets": row["targets"],
        "languages": np.where(used, row["languages"], NO_LANGUAGE).astype(np.int32),
        "ce_weight": row["ce_weight"],
        "kd_weight": row["kd_weight"],
        "records": np.where(row["records_segment_ids"] > 0, row["records"], -1),
    }


def predicted(rows: Mapping[str, Any]) -> np.ndarray:
    """Which entries [..., S, C] of loss slots count, in the cross-entropy or in the divergence."""
    taught = rows["kd_weight"] > 0
    either = np.concatenate([taught.any(axis=-1, keepdims=True), taught], axis=-1)
    return either | (rows["ce_weight"] > 0)


def to_batch(rows: Mapping[str, Any]) -> Batch:
    """The device-bound part of stacked rows."""
    slots = LossSlots(rows["slot_positions"], rows["targets"], rows["ce_weight"], rows["kd_weight"])
    return Batch(rows["tokens"], rows["positions"], rows["segment_ids"], slots, rows["languages"])
