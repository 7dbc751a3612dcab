"""Numbers spelt out in the eleven languages: which words may stand for which value.

The tables serve to recognise that a number survived a translation, not to translate one, so they
are generous: cardinals, ordinals, fractions and multiples ("twice"), inflected and gendered.

A table's entry is `value: words`, and entries are separated by semicolons or lines. With a list of
values (`20..90/10` counts in tens) the words are theirs in turn, with `|` between the forms of one
value. A word that ends in `*` is the beginning of a word. Words of the unspaced languages are
regular expressions, searched for anywhere.
"""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction

import regex

_ENGLISH = """
0..12: zero one two three four five six seven eight nine ten eleven twelve
13..19: thirteen fourteen fifteen sixteen seventeen eighteen nineteen
20..60/10: twent* thirt* forty|forti* fifty|fifti* sixty|sixti*
70..90/10: seventy|seventi* eighty|eighti* ninet*
1..6: first second third* fourth* fifth* sixth*
7..12: seventh* eighth* ninth* tenth* eleventh* twelfth*
13..19: thirteenth* fourteenth* fifteenth* sixteenth* seventeenth* eighteenth* nineteenth*
1: a an once single each every; 2: twice twofold double* both pair* couple
3: thrice threefold triple*; 4: quadruple*; 12: dozen* noon midday midnight; 0: no none
100: hundred*; 1000: thousand*; 1000000: million*; 1000000000: billion*
1/2: half halves; 1/3: third*; 1/4: quarter*
"""

# Words made of parts (zweiunddreißig, fünfzehnjährig) are read by `_german`.
_GERMAN = """
0: null kein*; 1: ein eine einen einem einer eines eins einmal erste* einzig* jede*
2: zwo zweit* doppel* verdopp* beid* paar*; 3: dritt* verdreifach*; 4: vervierfach*; 7: siebt*
12: dutzend* mittag* mitternacht*; 1000: tausend*; 1000000: million* mio
1000000000: milliarde* mrd; 1/2: halb* hälfte* halbier*; 1/3: drittel*; 1/4: viertel*
1/5: fünftel*; 1/6: sechstel*; 1/7: siebtel*; 1/8: achtel*; 1/10: zehntel*
3/4: dreiviertel*; 3/2: anderthalb* eineinhalb*
"""
_GERMAN_PARTS = """
1..12: ein zwei drei vier fünf sechs|sech sieben|sieb acht neun zehn elf zwölf
20..90/10: zwanzig dreißig|dreissig vierzig fünfzig sechzig siebzig achtzig neunzig
100: hundert; 1000: tausend
"""

_FRENCH = """
0..10: zéro un|une deux trois quatre cinq six sept huit neuf dix
11..16: onze douze treize quatorze quinze seize
20..60/10: vingt|vingts trente quarante cinquante soixante; 70..90/10: septante octante nonante
1..6: premi* deuxi* troisi* quatri* cinqui* sixi*; 7..12: septième* huiti* neuvi* dixi* onzi* douzi*
13..16: treizi* quatorzi* quinzi* seizi*
20..60/10: vingti* trenti* quaranti* cinquanti* soixanti*
10: dizaine*; 12: douzaine* midi minuit; 15: quinzaine*; 20..30/10: vingtaine* trentaine*
40..60/10: quarantaine* cinquantaine* soixantaine*; 1: unique* chaque
0: aucun*; 2: second doubl* paire* couple*; 3: tripl*; 4: quadrupl*; 5: quintupl*
100: cent cents centième* centaine*; 1000: mille millier* millième*
1000000: million*; 1000000000: milliard*
1/2: demi demie demis demies moitié moitiés mi; 1/3: tiers; 1/4: quart quarts
"""

_SPANISH = """
0..10: cero un|uno|una dos tres cuatro cinco seis siete ocho nueve diez
11..19: once doce trece catorce quince dieciséis diecisiete dieciocho diecinueve
20..25: veinte veintiuno|veintiuna|veintiún veintidós veintitrés veinticuatro veinticinco
26..29: veintiséis veintisiete veintiocho veintinueve
20..90/10: veinten* treint* cuarent* cincuent* sesent* setent* ochent* novent*
1..6: prim* segundo|segunda terc* cuart* quint* sext*; 7..10: séptim* octav* noven* décim*
0: ningun* ningún; 1: cada; 2: dobl* duplic* par pares pareja* ambos ambas; 3: tripl*; 4: cuádruple*
11: undécim*; 12: duodécim* docena* mediodía medianoche; 15: quincen*
100..300/100: cien|ciento|cientos|centena*|centésim* doscient* trescient*
400..600/100: cuatrocient* quinient* seiscient*; 700..900/100: setecient* ochocient* novecient*
1000: mil miles millar*; 1000000: millón millones
1/2: medio media medios medias mitad mitades; 1/3: terc*; 1/4: cuart*
"""

# "ё" is read as "е".
_RUSSIAN = """
0: ноль нол* нул* нет ни; 1: один одна одно* одну одной одним одни однажды перв* кажд*
1: единственн*; 2: два две двух* двум* двое двоих двойн* двойк* вдвое вдвоем дважды втор* удво*
2: двукратн* оба обе обоих обеих обоим обеим пара пару пары; 3: три трех* трем* тремя трое троих
3: троим тройн* тройк* втрое трижды трет*; 4: четыр* четверо четверых четверт* четверк* вчетверо
5: пять пяти* пятью пятер* впятеро пятый пятая пятое пятого пятой пятую пятых пятом
6..10: шест* семь|семи*|семью|семер*|седьм* восемь|восьм* девят* десят*
11..14: одиннадцат* двенадцат* тринадцат* четырнадцат*
15..19: пятнадцат* шестнадцат* семнадцат* восемнадцат* девятнадцат*
20..40/10: двадцат* тридцат* сорок*; 50..60/10: пятьдесят|пятидесят* шестьдесят|шестидесят*
70..90/10: семьдесят|семидесят* восемьдесят|восьмидесят* девяност*
100: сто ста сотн* сотен стопроцентн*; 12: дюжин* полдень полдня полночь
200..400/100: двести|двухсот* триста|трехсот* четыреста|четырехсот*
500..700/100: пятьсот|пятисот* шестьсот|шестисот* семьсот|семисот*
800..900/100: восемьсот|восьмисот* девятьсот|девятисот*
1000: тысяч* тыс; 1000000: миллион* млн; 1000000000: миллиард* млрд
1/2: половин* пол полчаса получас* полгод* полкило* полдюжин* полмил* полфунт* полгаллон* пополам
1/3: трет*; 1/4: четверт*; 3/2: полтор* полутор*
"""

_SWAHILI = """
0..2: sifuri|hakuna moja|mmoja|kimoja mbili|wawili|miwili|mawili|viwili|pili
3..5: tatu|watatu|mitatu|matatu|vitatu nne|wanne|minne|manne|vinne tano|watano|mitano|matano|vitano
6..10: sita saba nane|wanane|minane|manane|vinane tisa kumi
20..90/10: ishirini thelathini arobaini|arubaini hamsini sitini sabini themanini tisini
1: kwanza; 2: maradufu jozi; 12: dazeni dozeni
100: mia; 1000: elfu maelfu; 100000: laki; 1000000: milioni; 1000000000: bilioni
1/2: nusu; 1/3: theluthi thuluthi; 1/4: robo; 1/5: humusi; 1/6: sudusi; 1/8: thumuni
"""

_CHINESE = """
0..4: 零|〇|没 一|壹 二|两|兩|双|雙|俩 三|叁|仨 四|肆; 5..9: 五|伍 六|陆 七|柒 八|捌 九|玖
10: 十|拾; 20: 廿; 100: 百|佰; 1000: 千|仟; 10000: 万|萬; 100000000: 亿|億
12: 打|中午|正午|午夜; 2: 翻倍|加倍|一倍; 1/2: 半; 1/4: 刻
"""

_JAPANESE = r"""
0..3: 零|〇|ゼロ 一|ひとつ|ひとり 二|両|ふたつ|ふたり 三|みっつ; 4..6: 四|よっつ 五|いつつ 六|むっつ
7..9: 七|ななつ 八|やっつ 九|ここのつ
10: 十; 100: 百; 1000: 千; 10000: 万; 100000000: 億; 1000000000000: 兆
12: ダース|正午|真夜中; 2: (?<![\d一二三四五六七八九十百千数何])倍|ダブル|ペア
1/2: 半; 1/4: クォーター|クオーター
"""

_THAI = """
0..5: ศูนย์ หนึ่ง|เอ็ด|เดียว|แรก สอง|ยี่|คู่ สาม สี่ ห้า; 6..9: หก เจ็ด แปด เก้า
10: สิบ; 100: ร้อย; 1000: พัน; 10000: หมื่น; 100000: แสน; 1000000: ล้าน
2: เท่าตัว; 12: โหล|เที่ยง; 1/2: ครึ่ง
"""

_TELUGU = """
0..5: సున్నా ఒక*|ఒంటి* రెండ*|రెం* మూడ* నాలుగ* ఐద*|అయిద*
6..10: ఆరు*|ఆరవ*|ఆరి* ఏడు*|ఏడవ*|ఏడి* ఎనిమిద* తొమ్మిద* పది*
11..15: పదకొండ* పన్నెండ* పదమూడ* పద్నాలుగ*|పధ్నాలుగ* పదిహేన*
16..19: పదహార* పదిహేడ* పద్దెనిమిద* పంతొమ్మిద*|పందొమ్మిద*
20..90/10: ఇరవై* ముప్పై*|ముప్ఫై* నలభై* యాభై* అరవై* డెబ్బై*|డెబ్భై* ఎనభై* తొంభై*
1: మొదట*; 2: ఇద్దర* రెట్టింప* జత*; 3: ముగ్గుర*; 4: నలుగుర*; 12: డజన్* డజను*
100: వంద* నూట* నూరు; 1000: వెయ్యి* వేయి వేల*; 100000: లక్ష*; 1000000: మిలియన్*; 10000000: కోట*
1/2: సగం* సగమ* సగాన* అర అర్ధ*; 1/4: పావు* క్వార్టర్*; 3/4: ముప్పావు*
3/2: ఒకటిన్నర*; 5/2: రెండున్నర*; 7/2: మూడున్నర*
"""

_BENGALI = """
0..3: শূন্য এক* দুই*|দুটি*|দুটো*|দুজন*|দু|দ্বি* তিন|তিনটি*|তিনটা*|তিনটে*|তিনজন*|তিনগুণ*|তিনবার*
4..10: চার* পাঁচ* ছয়*|ছ সাত* আট* নয়* দশ*; 11..15: এগার* বারো* তের|তেরো*|তেরটি* চৌদ্দ* পনের*
16..20: ষোল* সতের* আঠার* উনিশ*|ঊনিশ* বিশ*|কুড়ি*
21..25: একুশ* বাইশ* তেইশ* চব্বিশ* পঁচিশ*; 26..30: ছাব্বিশ* সাতাশ* আটাশ* ঊনত্রিশ*|উনত্রিশ* ত্রিশ*
35: পঁয়ত্রিশ*; 36: ছত্রিশ*; 45: পঁয়তাল্লিশ*; 48: আটচল্লিশ*; 75: পঁচাত্তর*
40..90/10: চল্লিশ* পঞ্চাশ* ষাট* সত্তর* আশি* নব্বই*
1..5: প্রথম* দ্বিতীয়* তৃতীয়* চতুর্থ* পঞ্চম*; 6..10: ষষ্ঠ* সপ্তম* অষ্টম* নবম* দশম*
2: উভয়* জোড়া* দ্বিগুণ*; 12: ডজন* দুপুর*; 100: শত* শ একশ*; 200..300/100: দুইশ*|দুশ* তিনশ*
400..900/100: চারশ* পাঁচশ* ছয়শ* সাতশ* আটশ* নয়শ*; 1000: হাজার*
100000: লক্ষ* লাখ*; 1000000: মিলিয়ন*; 10000000: কোটি*; 1000000000: বিলিয়ন*
1/2: অর্ধ* আধ* সাড়ে; 1/4: সোয়া পোয়া; 3/2: দেড়*; 5/2: আড়াই*
"""

_TABLES: dict[str, str] = {
    "en": _ENGLISH,
    "de": _GERMAN,
    "fr": _FRENCH,
    "es": _SPANISH,
    "ru": _RUSSIAN,
    "zh": _CHINESE,
    "ja": _JAPANESE,
    "th": _THAI,
    "te": _TELUGU,
    "bn": _BENGALI,
    "sw": _SWAHILI,
}

# In an unspaced language: words in which a number's character is no number.
_NO_NUMBERS: dict[str, str] = {
    "zh": "(?:星期|礼拜|(?<![每一])周)[一二三四五六](?![天次])|四舍五入|百分|三角|四边",
    "ja": "三角|四角|四捨五入|一緒|一部",
    "th": "เก้าอี้|สัมพันธ์",
}

# Written between the words of one number.
_CONNECTORS: dict[str, frozenset[str]] = {
    "en": frozenset({"and"}),
    "de": frozenset({"und"}),
    "fr": frozenset({"et"}),
    "es": frozenset({"y"}),
    "sw": frozenset({"na"}),
}

# Values that multiply only the digit before them; larger ones multiply all that comes before.
_SMALL_SCALES: dict[str, frozenset[int]] = {
    "zh": frozenset({10, 100, 1000}),
    "ja": frozenset({10, 100, 1000}),
    "th": frozenset({10, 100, 1000, 10_000, 100_000}),
}
_HUNDRED = frozenset({100})
_SCALES = frozenset({100, 1000, 10_000, 100_000, 10**6, 10**7, 10**8, 10**9, 10**12})
_LONGEST_RUN = 12  # Words of one number.
_SCALE_FIRST = frozenset({"sw"})
_POSITIONAL = frozenset({"zh", "ja"})
_JOINTS = " -‐‑\u00a0\u202f"
_NUMERAL = r"\d+(?:[.,']\d+)*"
_LOOKAROUND = regex.compile(r"\(\?[^)]*\)")


@dataclasses.dataclass(frozen=True)
class _Spelling:
    """A language's table, ready for reading.

    Attributes:
      token: matches a numeral or a word; in an unspaced language, a numeral or a number word.
      words: whole word -> values.
      beginnings: beginning of a word -> values.
      longest: matches the longest of the beginnings.
      parts: what compound words are made of -> values.
      compound: matches the parts at a word's beginning.
    """

    token: regex.Pattern[str]
    words: Mapping[str, tuple[Fraction, ...]]
    beginnings: Mapping[str, tuple[Fraction, ...]]
    longest: regex.Pattern[str]
    parts: Mapping[str, tuple[Fraction, ...]]
    compound: regex.Pattern[str]

    def look_up(self, word: str) -> tuple[Fraction, ...]:
        """The values of a word; none if it is no number word."""
        if word in self.words:
            return self.words[word]
        compound: tuple[Fraction, ...] = ()
        if self.parts and (match := self.compound.match(word)):
            parts = [self.parts[part][0] for part in match.captures("part")]
            half = Fraction(1, 2) if match["half"] else 0
            compound = (_composed(parts, _HUNDRED) + half,)
        beginning = self.longest.match(word) if self.beginnings else None
        return compound + (self.beginnings[beginning.group()] if beginning else ())


def values(
    text: str,
    language: str,
    read: Callable[[str], Sequence[Fraction]],
    *,
    spelt_out: bool = True,
) -> set[Fraction]:
    """Every value that the number words of a text may express, alone or with numerals.

    Args:
      text: with ASCII digits.
      language: its code.
      read: what a numeral, such as "1.000", may mean.
      spelt_out: if not, words count only as multipliers of a numeral ("2 million", "5万").
    """
    spelling = _spelling(language)
    connectors = _CONNECTORS.get(language, frozenset())
    found: set[Fraction] = set()
    run: list[Sequence[Fraction]] = []  # Numbers that stand side by side.
    end = 0
    for match in spelling.token.finditer(_folded(text)):
        word = match.group()
        numeral = word[0].isdecimal()
        joined = not match.string[end : match.start()].strip(_JOINTS)
        end = match.end()
        if word in connectors and joined:
            continue
        meant = read(word) if numeral else spelling.look_up(word)
        if not spelt_out and not numeral:
            wanted = run and joined or language in _SCALE_FIRST
            meant = [value for value in meant if wanted and value in _SCALES]
        whole = numeral or any(value.denominator == 1 for value in meant)
        if run and not (joined and whole and len(run) < _LONGEST_RUN):
            found.update(_worth(run, language))
            run = []
        if whole:
            run.append(meant)
        if spelt_out or numeral:
            found.update(meant)
    return found.union(_worth(run, language))


def _worth(run: Sequence[Sequence[Fraction]], language: str) -> Iterator[Fraction]:
    """What numbers written side by side may be worth together."""
    if len(run) < 2:
        return
    rest = [next((v for v in meant if v.denominator == 1), meant[0]) for meant in run[1:]]
    small = _SMALL_SCALES.get(language, _HUNDRED)
    for whole in ([first, *rest] for first in run[0]):
        # Neighbours need not belong together: "10 millones cada uno".
        for part in (whole[a:b] for b in range(2, len(whole) + 1) for a in range(b - 1)):
            yield _composed(part, small)
            if language in _SCALE_FIRST:
                yield _scale_first(part, greedy=False)
                yield _scale_first(part, greedy=True)
    if language in _POSITIONAL and all(meant[0] in range(10) for meant in run):
        yield Fraction(int("".join(str(meant[0]) for meant in run)))


def _composed(run: Sequence[Fraction], small: frozenset[int]) -> Fraction:
    """Adds and multiplies: two hundred thirty-five thousand and six is 235,006."""
    total = section = digit = Fraction(0)
    for value in run:
        if value in small:
            section += (digit or 1) * value
            digit = Fraction(0)
        elif value in _SCALES:
            if section + digit:
                total += (section + digit) * value
            else:  # Spanish: mil millones
                total = (total or 1) * value
            section = digit = Fraction(0)
        elif value == 20 and digit == 4:  # French: quatre-vingts
            digit = Fraction(80)
        else:
            digit += value
    return total + section + digit


def _scale_first(run: Sequence[Fraction], *, greedy: bool) -> Fraction:
    """Swahili: elfu mbili mia tano is 2,500; elfu kumi na mbili is 12,000 (greedy) or 10,002."""
    total = scale = by = Fraction(0)
    for value in run:
        if value in _SCALES:
            total, scale, by = total + scale * (by or 1), value, Fraction(0)
        elif scale and (greedy or not by):
            by += value
        else:
            total += value
    return total + scale * (by or 1)


@functools.cache
def _spelling(language: str) -> _Spelling:
    words = _entries(_TABLES[language])
    parts = _entries(_GERMAN_PARTS) if language == "de" else {}
    token = r"[\p{L}\p{M}]+"
    if language in _SMALL_SCALES:  # Unspaced: the table's words are patterns.
        token = f"{_NO_NUMBERS[language]}|{_either(words)}"
        words = {_LOOKAROUND.sub("", word): meant for word, meant in words.items()}
    beginnings = {word[:-1]: meant for word, meant in words.items() if word.endswith("*")}
    part = f"(?P<part>{_either(parts)})"
    return _Spelling(
        token=regex.compile(f"{_NUMERAL}|{token}"),
        words={word: meant for word, meant in words.items() if not word.endswith("*")},
        beginnings=beginnings,
        longest=regex.compile(_either(beginnings)),
        parts=parts,
        # "ein" alone begins many words that are no numbers.
        compound=regex.compile(
            f"(?!ein(?!und|hundert|tausend)){part}(?:(?!einhalb)(?:und)?{part})*(?P<half>einhalb)?"
        ),
    )


def _entries(table: str) -> dict[str, tuple[Fraction, ...]]:
    """A table as word -> values (see the top of this file)."""
    found: dict[str, dict[Fraction, None]] = {}
    for entry in table.replace("\n", ";").split(";"):
        if not entry.strip():
            continue
        span, _, words = entry.strip().partition(": ")
        first, _, last = span.partition("..")
        last, _, step = last.partition("/")
        if last:
            forms = [word.split("|") for word in words.split()]
            wanted = range(int(first), int(last) + 1, int(step or 1))
            for value, alternatives in zip(wanted, forms, strict=True):
                for word in alternatives:
                    found.setdefault(_folded(word), {})[Fraction(value)] = None
        else:
            for word in words.replace("|", " ").split():
                found.setdefault(_folded(word), {})[Fraction(first)] = None
    return {word: tuple(meant) for word, meant in found.items()}


def _either(words: Mapping[str, object]) -> str:
    """A pattern of any of the words, the longest first."""
    return "|".join(sorted(words, key=lambda word: (-len(word), word)))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("ё", "е")
