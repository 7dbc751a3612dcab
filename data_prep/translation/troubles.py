"""What a failed request to a chat endpoint means: ask again, give up the text, or stop."""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import enum
from collections.abc import Mapping

from data_prep.translation.replies import NoCompletion
from xcot_jax.settings import OpenaiSettings

_LONGEST_WAIT = (
    600.0  # Seconds; a server that asks for more, as at the end of a day's quota, stops.
)


class Fate(enum.Enum):
    """What becomes of a request that failed."""

    AGAIN = enum.auto()  # It passes: asked again; in the end the run stops.
    DOUBT = enum.auto()  # Asked again; in the end the text is refused.
    REFUSE = enum.auto()  # The text is refused.
    STOP = enum.auto()  # Nothing will ever work: the run stops.


@dataclasses.dataclass(frozen=True)
class Trouble:
    """A request that failed.

    Attributes:
      fate: what becomes of it.
      message: what happened, and the way out of what stops.
      reason: what a refusal is counted as.
      limited: whether the server has too much to do, rather than being out of order.
      wait: seconds that the server asks to wait, of all requests; 0: it asks for none.
    """

    fate: Fate
    message: str
    reason: str = ""
    limited: bool = False
    wait: float = 0.0


# Fates of HTTP statuses; every other 4xx stops, every 5xx passes.
_STATUS: dict[int, Fate] = {
    400: Fate.REFUSE,
    408: Fate.AGAIN,
    409: Fate.AGAIN,
    413: Fate.REFUSE,
    422: Fate.REFUSE,
    425: Fate.AGAIN,
    429: Fate.AGAIN,
}

_WAY_OUT: dict[int, str] = {
    401: "the key was not accepted; set the environment variable {key} to a valid one",
    403: "the key in the environment variable {key} may not do this",
    404: "no such model or address; check prep.translate.openai.model ({model}) and base_url",
}


def judge(error: Exception, settings: OpenaiSettings) -> Trouble | None:
    """Says what an exception of the `openai` package, or of `replies`, means; None: a mistake."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return Trouble(Fate.AGAIN, f"no reply within {settings.timeout:g} seconds")
    if isinstance(error, openai.APIConnectionError):
        return Trouble(Fate.AGAIN, f"no connection ({error.__cause__ or error})")
    if isinstance(error, openai.APIStatusError):
        return _judge_status(error, settings)
    # A body that is no JSON or not even text is a ValueError.
    if isinstance(error, NoCompletion | openai.APIError | ValueError):
        return Trouble(
            Fate.DOUBT, f"a reply that is no completion: {_short(error)}", "reply is no completion"
        )
    return None


def _judge_status(error: object, settings: OpenaiSettings) -> Trouble:
    import openai

    assert isinstance(error, openai.APIStatusError)
    status = error.status_code
    message = f"HTTP {status}: {_short(error)}"
    fate = _STATUS.get(status, Fate.AGAIN if status >= 500 else Fate.STOP)
    way_out = _WAY_OUT.get(status)
    if way_out:
        message += f"; {way_out.format(key=settings.key_variable, model=settings.model)}"
    wait = retry_after(error.response.headers)
    if error.code == "insufficient_quota":
        fate = Fate.STOP
        message += "; the account has no quota left"
    elif fate is Fate.AGAIN and wait > _LONGEST_WAIT:
        fate = Fate.STOP
        message += f"; the endpoint asks to come back in {wait / 60:.0f} minutes"
    return Trouble(fate, message, f"HTTP {status}", status == 429, wait)


def retry_after(headers: Mapping[str, str]) -> float:
    """The seconds that a reply's headers ask to wait: a number or a date; 0 without either."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return max(0.0, (then - datetime.datetime.now(datetime.UTC)).total_seconds())


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."
