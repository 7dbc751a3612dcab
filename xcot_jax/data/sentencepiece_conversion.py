"""SentencePiece BPE models as tokenizers of the `tokenizers` library, which transformers runs on.

Spaces stay spaces inside of pieces, where SentencePiece and most conversions write U+2581: that
character, when it stands in a text, then falls back to bytes like any other unknown one.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from xcot_jax.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The part of sentencepiece_model.proto that is needed. The module that SentencePiece ships asks for
# a version of protobuf newer than what other packages allow.
_SCHEMA = """
name: "xcot_jax/sentencepiece_model.proto"
message_type {
  name: "Piece"
  field { name: "piece" number: 1 type: TYPE_STRING }
  field { name: "score" number: 2 type: TYPE_FLOAT }
  field { name: "type" number: 3 type: TYPE_INT32 default_value: "1" }
}
message_type {
  name: "Trainer"
  field { name: "model_type" number: 3 type: TYPE_INT32 default_value: "1" }
}
message_type {
  name: "Normalizer"
  field { name: "add_dummy_prefix" number: 3 type: TYPE_BOOL default_value: "true" }
}
message_type {
  name: "Model"
  field { name: "pieces" number: 1 type: TYPE_MESSAGE type_name: "Piece" label: LABEL_REPEATED }
  field { name: "trainer_spec" number: 2 type: TYPE_MESSAGE type_name: "Trainer" }
  field { name: "normalizer_spec" number: 3 type: TYPE_MESSAGE type_name: "Normalizer" }
}
"""
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_BPE = 2


def to_fast(model: bytes, bos_id: int | None) -> Tokenizer:
    """Converts a model; that ids are the same is for the caller to check.

    Args:
      model: content of a `.model` file.
      bos_id: the piece that every sequence is to begin with, if any.

    Raises:
      InputError: for a model that is not one of byte-pair encoding.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    proto = _message_class()()
    proto.ParseFromString(model)
    if proto.trainer_spec.model_type != _BPE:
        raise InputError(
            "of SentencePiece models, only those of byte-pair encoding (model_type=bpe) can be "
            "written for transformers; train with another tokenizer"
        )
    pieces = [p.piece.replace("\u2581", " ") for p in proto.pieces]
    of_type: dict[int, list[str]] = collections.defaultdict(list)
    for text, piece in zip(pieces, proto.pieces, strict=True):
        of_type[piece.type].append(text)
    scores = dict(zip(pieces, (p.score for p in proto.pieces), strict=True))
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=_merges(sorted(of_type[_NORMAL], key=lambda piece: -scores[piece])),
            unk_token=of_type[_UNKNOWN][0],
            fuse_unk=True,
            byte_fallback=bool(of_type[_BYTE]),
        )
    )
    special = of_type[_UNKNOWN] + of_type[_CONTROL]
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False) for piece in special])
    tokenizer.add_tokens([AddedToken(p, normalized=False) for p in of_type[_USER_DEFINED]])
    steps: list[Any] = [decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        tokenizer.normalizer = normalizers.Prepend(" ")
        steps.append(decoders.Strip(" ", left=1))
    tokenizer.decoder = decoders.Sequence(steps)
    if bos_id is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{pieces[bos_id]} $A", special_tokens=[(pieces[bos_id], bos_id)]
        )
    return tokenizer


def _merges(pieces: Sequence[str]) -> list[tuple[str, str]]:
    """Each way to make a piece of two others, best piece first.

    SentencePiece has no merges: it joins the neighbours that make the best piece.
    """
    known = set(pieces)
    return [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]


@functools.cache
def _message_class() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    schema = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Model"))
