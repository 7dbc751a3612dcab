"""Segmentation finds words and sentences in all scripts, and loses nothing."""

from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from data_prep.lexicons.segmentation import cut_spans, sentences, word_spans, words
from xcot_jax.languages import CODES

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text("ab cé'’-. \n?3四年一每本书个人กินข้าวです。！？আপেల", max_size=60),
)


@given(TEXTS, st.sampled_from(CODES))
def test_no_character_is_lost(text, code):
    assert "".join(sentences(text, code)) == text
    spans = word_spans(text, code)
    outside = list(text)
    for begin, end in spans:
        assert begin < end
        outside[begin:end] = [""] * (end - begin)
    assert spans == sorted(spans)
    assert not regex.search(r"[\p{L}\p{N}]", "".join(outside))
    cut = cut_spans(text, spans, code)
    assert [n for a, b in cut for n in range(a, b)] == [n for a, b in spans for n in range(a, b)]
    assert all(begin < end for begin, end in cut)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("en", "Tom's well-known dog ate 3.", ["Tom's", "well-known", "dog", "ate", "3"]),
        ("zh", "汤姆有3个苹果。", ["汤姆", "有", "3", "个", "苹果"]),
        ("ja", "リンゴを買いました。", ["リンゴ", "を", "買い", "ま", "した"]),
        ("th", "เขากินข้าว 3 จาน", ["เขา", "กิน", "ข้าว", "3", "จาน"]),
        ("bn", "কতগুলি আপেল?", ["কতগুলি", "আপেল"]),
    ],
)
def test_words(code, text, expected):
    assert words(text, code) == expected


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("en", "Tom’s dog doesn't", ["Tom", "’s", "dog", "doesn't"]),
        ("fr", "L'heure qu'elle a-t-elle", ["L'", "heure", "qu'", "elle", "a", "-t-elle"]),
        ("fr", "aujourd'hui dit-il au week-end", ["aujourd'hui", "dit", "-il", "au", "week-end"]),
        ("zh", "每年三次", ["每", "年", "三", "次"]),
        ("zh", "一起读一本书", ["一起", "读", "一", "本", "书"]),
        ("de", "Tom's", ["Tom's"]),
    ],
)
def test_parts_of_a_written_word(code, text, expected):
    spans = cut_spans(text, word_spans(text, code), code)
    assert [text[begin:end] for begin, end in spans] == expected


@pytest.mark.parametrize(
    ("code", "text", "count"),
    [
        ("en", "Sam has 3.5 pints. How many does he need? None!", 3),
        ("zh", "汤姆有3个苹果。他吃了一个。还剩多少？", 3),
        ("ja", "トムはりんごを3個持っています。いくつ残っていますか？", 2),
        ("bn", "রাম ৩টি আপেল কিনল। কতগুলি আছে?", 2),
        ("de", "", 0),
    ],
)
def test_sentences(code, text, count):
    assert len(sentences(text, code)) == count
