"""A number survives in any form a translation may give it, and is missed when it is gone."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.quality.numbers import calculator_mark, missing, readings, strip_calculator_marks
from xcot_jax.languages import CODES

DIGITS = {
    "bn": "০১২৩৪৫৬৭৮৯",
    "te": "౦౧౨౩౪౫౬౭౮౯",
    "th": "๐๑๒๓๔๕๖๗๘๙",
    "hi": "०१२३४५६७८९",
    "ar": "٠١٢٣٤٥٦٧٨٩",
    "fa": "۰۱۲۳۴۵۶۷۸۹",
    "full width": "０１２３４５６７８９",
    "ascii": "0123456789",
}


def indian(number: int) -> str:
    digits = str(number)
    head, tail = digits[:-3], digits[-3:]
    while len(head) > 2:
        head, tail = head[:-2], f"{head[-2:]},{tail}"
    return f"{head},{tail}" if head else tail


LOCALES = {
    "plain": str,
    "comma": "{:,}".format,
    "dot": lambda number: f"{number:,}".replace(",", "."),
    "space": lambda number: f"{number:,}".replace(",", " "),
    "no-break": lambda number: f"{number:,}".replace(",", "\u00a0"),
    "narrow": lambda number: f"{number:,}".replace(",", "\u202f"),
    "apostrophe": lambda number: f"{number:,}".replace(",", "’"),
    "indian": indian,
}
numbers = st.integers(2, 999_999_999)
written = st.builds(
    lambda number, locale, script: (
        number,
        LOCALES[locale](number).translate(str.maketrans(DIGITS["ascii"], DIGITS[script])),
    ),
    numbers,
    st.sampled_from(sorted(LOCALES)),
    st.sampled_from(sorted(DIGITS)),
)


@given(written, st.sampled_from(CODES), st.booleans())
def test_an_integer_survives_in_any_locale_and_script(form, language, spelt_out):
    number, text = form
    for source in (f"{number}", f"{number:,}", f"${number}", f"{number}%"):
        assert not missing(f"X has {source}.", f"X: {text}?", language, spelt_out=spelt_out)


@given(numbers, st.sampled_from(CODES), st.booleans())
def test_a_number_that_is_gone_is_missed(number, language, spelt_out):
    source = f"X has {number:,} or 7919 of them."
    if number != 7919:
        lost = missing(source, "X: 7919.", language, spelt_out=spelt_out)
        assert lost == (f"{number:,}",)


@given(st.decimals("0.01", 9999, places=2), st.sampled_from(CODES))
def test_a_decimal_survives_with_comma_point_and_in_cents(value, language):
    source = f"It costs ${value}."
    texts = [f"{value}", f"{value}".replace(".", ",")]
    if value % 1:
        texts.append(f"{int(value * 100)} c")
    for text in texts:
        assert not missing(source, text, language)
    assert missing(source, "-", language) == (f"${value}",)


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(CODES), st.booleans())
def test_any_text_can_be_compared(source, text, language, spelt_out):
    assert not missing(text, text, language, spelt_out=spelt_out)
    missing(source, text, language, spelt_out=spelt_out)


def test_endless_repetition_is_no_number():
    for text in ("9" * 5000, "三" * 5000, "1/" * 2000, "elfu " * 2000, "zwei" * 2000, "7折" * 999):
        for language in CODES:
            assert missing("He has 1234 of them.", text, language) == ("1234",)


@pytest.mark.parametrize(
    ("language", "source", "text"),
    [
        ("zh", "1,500,000 people", "150万人"),
        ("zh", "35,000 people", "3万5千人"),
        ("zh", "3500 people", "三千五百人"),
        ("zh", "in 2023", "二〇二三年"),
        ("zh", "2/3 of them", "其中的三分之二"),
        ("zh", "30% off", "打七折"),
        ("zh", "25% off", "打7.5折"),
        ("ja", "120,000,000 yen", "1億2000万円"),
        ("ja", "3 apples", "リンゴ三つ"),
        ("ja", "3 apples", "りんごがみっつ"),
        ("ja", "1/3 of them", "そのうちの3分の1"),
        ("th", "250 baht", "สองร้อยห้าสิบบาท"),
        ("th", "5,000,000 baht", "5 ล้านบาท"),
        ("te", "25 mangoes", "ఇరవై ఐదు మామిడి పండ్లు"),
        ("te", "3 friends", "ముగ్గురు స్నేహితులు"),
        ("bn", "25 mangoes", "পঁচিশটি আম"),
        ("bn", "2.5 kg", "আড়াই কেজি"),
        ("bn", "2.5 kg", "আড়াই কেজি"),
        ("sw", "250 shillings", "shilingi mia mbili na hamsini"),
        ("sw", "3,500 shillings", "shilingi elfu tatu mia tano"),
        ("sw", "12,000 shillings", "shilingi elfu kumi na mbili"),
        ("sw", "at 8 am", "saa mbili asubuhi"),
        ("de", "32 balls", "zweiunddreißig Bälle"),
        ("de", "250 balls", "zweihundertfünfzig Bälle"),
        ("de", "a 15-year-old", "eine Fünfzehnjährige"),
        ("de", "1.5 hours", "anderthalb Stunden"),
        ("de", "3 and a half hours", "dreieinhalb Stunden"),
        ("de", "5:30 pm", "17:30 Uhr"),
        ("de", "5:30 pm", "halb sechs"),
        ("de", "1,500,000 euros", "1,5 Millionen Euro"),
        ("fr", "97 days", "quatre-vingt-dix-sept jours"),
        ("fr", "71 days", "soixante et onze jours"),
        ("fr", "at 4 o'clock", "à 16 heures"),
        ("fr", "$1.50", "1 dollar et 50 cents"),
        ("es", "152 days", "ciento cincuenta y dos días"),
        ("es", "2 billion miles", "2 mil millones de millas"),
        ("es", "the 2nd day", "el segundo día"),
        ("es", "50% of them", "la mitad"),
        ("ru", "25 days", "двадцать пять дней"),
        ("ru", "a 3-year-old", "трёхлетний"),
        ("ru", "3,000 rubles", "3 тыс. рублей"),
        ("ru", "1/2 of them", "половина"),
        ("ru", "between 2-4 pm", "между 14:00 и 16:00"),
        ("ru", "for 1 week", "в течение недели"),
        ("fr", "2½ pounds", "2,5 livres"),
        ("fr", "in the 1980s", "dans les années 80"),
        ("fr", "100 m2", "100 mètres carrés"),
        ("fr", "$.50", "50 cents"),
        ("en", "20 Äpfel", "twenty apples"),
    ],
)
def test_forms_a_translation_may_give(language, source, text):
    assert not missing(source, text, language)


@pytest.mark.parametrize(
    ("language", "source", "text", "lost"),
    [
        ("zh", "40% off", "打八折", "40%"),
        ("zh", "200 million", "200", "200 million"),
        ("ru", "25% of them", "в два раза меньше", "25%"),
        ("fr", "$1 bill", "un billet", None),
        ("ru", "$1 bill", "купюра", "$1"),
        ("de", "3:30 pm", "um drei", "3:30"),
        ("sw", "6 singles and 4 pairs", "mstari mmoja na 4", "6"),
        ("es", "2/3 of them", "la mitad", "2/3"),
        ("bn", "he has 3", "তিনি", "3"),
        ("ru", "1/2 of them", "он получил", "1/2"),
    ],
)
def test_what_is_not_said_is_missed(language, source, text, lost):
    assert missing(source, text, language) == ((lost,) if lost else ())


def test_number_words_count_only_when_they_may():
    assert not missing("He has 12 eggs", "Er hat zwölf Eier", "de")
    assert missing("He has 12 eggs", "Er hat zwölf Eier", "de", spelt_out=False) == ("12",)
    # Multipliers of digits are no spelling out.
    assert not missing("2,000,000 people", "2 Millionen Menschen", "de", spelt_out=False)
    assert not missing("50,000 people", "5万人", "zh", spelt_out=False)


@pytest.mark.parametrize(
    ("numeral", "values"),
    [
        ("72", ["72"]),
        ("1,000", ["1000"]),
        ("1.250", ["1250", "1.25"]),
        ("1.234,5", ["1234.5"]),
        ("1,00,000", ["100000"]),
        ("0,125", ["0.125"]),
        ("12.5", ["12.5"]),
        ("1.2.3", ["1", "2", "3"]),
    ],
)
def test_readings(numeral, values):
    assert [Decimal(float(value)) for value in readings(numeral)] == [Decimal(v) for v in values]


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("48/2 = <<48/2=24>>24 clips", "48/2 = 24 clips"),
        ("<<1/2=.5>>0.5 and <<3-1=2>>2", "0.5 and 2"),
        ("is <<5*2=10>10 each", "is 10 each"),
        ("is <<5*2=10 10 each", "is  10 each"),
        ("is 5*2=10>>10 each", "is 10 each"),
        ("<<1+<<2*3=6>>=7>>7", "7"),
        ("a << b, c >> d and 3 < 4 > 2", "a << b, c >> d and 3 < 4 > 2"),
    ],
)
def test_calculator_marks_go_malformed_ones_too(text, stripped):
    assert strip_calculator_marks(text) == stripped
    assert strip_calculator_marks(stripped) == stripped
    assert (calculator_mark(text) is None) == (text == stripped)
