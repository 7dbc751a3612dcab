"""Telugu story problems.

All nouns stand in the nominative plural, also as objects, since they are things. Verbs end the
sentence and agree with the person's gender (`f`, `m`). Who has things has them "near" them, దగ్గర.
"""

from __future__ import annotations

from data_prep.stories.tables import (
    CONTAINERS,
    EXTRAS,
    GET,
    LOSE,
    NOUNS,
    PEOPLE,
    Table,
    Word,
    word,
    words,
)


def count(number: int, noun: Word, variant: str) -> str:
    """The number and the plural noun; there are no variants."""
    return f"{number} {noun['']}"


_NOW = "ఇప్పుడు {name} దగ్గర ఎన్ని {noun} ఉన్నాయి?"
_TOTAL = "{name} దగ్గర మొత్తం ఎన్ని {noun} ఉన్నాయి?"
_THEY = "వారి దగ్గర మొత్తం ఎన్ని {noun} ఉన్నాయి?"
_OTHER = "{other} దగ్గర ఎన్ని {noun} ఉన్నాయి?"
_EACH = "ప్రతి స్నేహితుడికి ఎన్ని {noun} వస్తాయి?"
_HAS = "{name} దగ్గర {n1:noun} ఉన్నాయి. తర్వాత {he:@} "
_GROUPS = "{name} దగ్గర {n1:container} ఉన్నాయి. {container:each} {n2:noun} ఉన్నాయి. తర్వాత {he:@} "

TEMPLATES = {
    "get": _HAS + "{n2:noun} {get:@}. " + _NOW,
    "lose": _HAS + "{n2:noun} {lose:@}. " + _NOW,
    "get_lose": _HAS + "{n2:noun} {get:@}, ఆపై {n3:noun} {lose:@}. " + _NOW,
    "lose_get": _HAS + "{n2:noun} {lose:@}, ఆపై {n3:noun} {get:@}. " + _NOW,
    "total": "{name} {n1:noun} {get:@}, {other} {n2:noun} {get:@2}. " + _THEY,
    "more": "{name} {n1:noun} {get:@}. {other} {name} కంటే {n2:noun} ఎక్కువ {get:@2}. " + _OTHER,
    "fewer": "{name} {n1:noun} {get:@}. {other} {name} కంటే {n2:noun} తక్కువ {get:@2}. " + _OTHER,
    "difference": "{name} {n1:noun} {get:@}, {other} {n2:noun} {get:@2}. "
    "{name} దగ్గర {other} కంటే ఎన్ని {noun} ఎక్కువ ఉన్నాయి?",
    "groups": "{name} {n1:container} {get:@}. {container:each} {n2:noun} ఉన్నాయి. " + _TOTAL,
    "groups_get": _GROUPS + "{n3:noun} {get:@}. " + _NOW,
    "groups_lose": _GROUPS + "{n3:noun} {lose:@}. " + _NOW,
    "twice": "{name} {n1:noun} {get:@}. {other} {name} కంటే రెట్టింపు {noun} {get:@2}. " + _THEY,
    # The friends do the sharing: their verb has a single form, whoever they are.
    "shared": "{name} {n1:noun} {get:@}. వాటిని {n2:friends} సమానంగా పంచుకుంటారు. " + _EACH,
    "get_shared": _HAS + "{n2:noun} {get:@}. వాటన్నింటినీ {n3:friends} సమానంగా పంచుకుంటారు. " + _EACH,
    "days": "{name} ప్రతిరోజూ {n1:noun} {get:@}. {n2:days} తర్వాత {name} దగ్గర ఎన్ని {noun} ఉంటాయి?",
    "weekdays": "సోమవారం {name} {n1:noun} {get:@}. మంగళవారం {he:@} {n2:noun} {get:@}. "
    "బుధవారం {he:@} {n3:noun} {lose:@}. " + _NOW,
    "groups_get_lose": _GROUPS + "{n3:noun} {get:@}, ఆపై {n4:noun} {lose:@}. " + _NOW,
    "two_change": "{name} దగ్గర {n1:noun}, {other} దగ్గర {n2:noun} ఉన్నాయి. "
    "తర్వాత {name} {n3:noun} {get:@}, {other} {n4:noun} {lose:@2}. " + _THEY,
}

PHRASES: dict[str, str | tuple[str, ...]] = {
    "has": "దగ్గర",
    "then": "తర్వాత",
    "how many": "ఎన్ని",
    "more": "ఎక్కువ",
    "fewer": "తక్కువ",
    "than": "కంటే",
    "now": "ఇప్పుడు",
    "in total": "మొత్తం",
    "they have": "వారి దగ్గర",
    "he": "అతను",
    "she": "ఆమె",
    "twice as many": "రెట్టింపు",
    "equally": "సమానంగా",
    "friends": "స్నేహితులు",
    "each friend": "ప్రతి స్నేహితుడికి",
    "every day": "ప్రతిరోజూ",
    "after": "తర్వాత",
    "days": "రోజుల",
    "on monday": "సోమవారం",
    "on tuesday": "మంగళవారం",
    "on wednesday": "బుధవారం",
}


def _verb(feminine: str, masculine: str) -> Word:
    return Word({"f": feminine, "m": masculine})


TABLE = Table(
    code="te",
    people=words(
        tuple(PEOPLE),
        *("అన్నా", "టామ్", "మరియా", "డేవిడ్", "సారా", "పాల్", "లెనా", "ఒమర్"),
        *("నీనా", "ఇవాన్", "అమీనా", "మ్యాక్స్", "మెయి", "కెంజి", "జూలియా", "రవి"),
    ),
    nouns=words(
        NOUNS,
        *("ఆపిల్స్", "పుస్తకాలు", "నాణేలు", "పువ్వులు", "బంతులు", "గుడ్లు", "పెన్నులు", "కార్డులు"),
        *("నారింజలు", "కేకులు", "కొవ్వొత్తులు", "స్టాంపులు"),
        *("రాళ్లు", "టోపీలు", "కప్పులు", "తాళంచెవులు"),
    ),
    get=words(
        GET,
        *(_verb("కొంటుంది", "కొంటాడు"), _verb("కనుగొంటుంది", "కనుగొంటాడు")),
        *(_verb("సేకరిస్తుంది", "సేకరిస్తాడు"), _verb("తెప్పిస్తుంది", "తెప్పిస్తాడు")),
        *(_verb("అందుకుంటుంది", "అందుకుంటాడు"), _verb("గెలుచుకుంటుంది", "గెలుచుకుంటాడు")),
        *(_verb("పొందుతుంది", "పొందుతాడు"), _verb("కనిపెడుతుంది", "కనిపెడతాడు")),
    ),
    lose=words(
        LOSE,
        *(_verb("ఇచ్చేస్తుంది", "ఇచ్చేస్తాడు"), _verb("అమ్ముతుంది", "అమ్ముతాడు")),
        *(_verb("పోగొట్టుకుంటుంది", "పోగొట్టుకుంటాడు"), _verb("అరువిస్తుంది", "అరువిస్తాడు")),
        *(_verb("పారేస్తుంది", "పారేస్తాడు"), _verb("దానం చేస్తుంది", "దానం చేస్తాడు")),
        *(_verb("పంపేస్తుంది", "పంపేస్తాడు"), _verb("అప్పగిస్తుంది", "అప్పగిస్తాడు")),
    ),
    containers=words(
        CONTAINERS,
        word("పెట్టెలు", each="ప్రతి పెట్టెలో"),
        word("సంచులు", each="ప్రతి సంచిలో"),
        word("బుట్టలు", each="ప్రతి బుట్టలో"),
    ),
    extras=words(EXTRAS, word("", f="ఆమె", m="అతను"), "వారి", "మంది స్నేహితులు", "రోజుల"),
    templates=TEMPLATES,
    count=count,
    phrases=PHRASES,
)
