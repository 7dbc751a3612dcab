"""The `openai` back end: a chat endpoint that speaks OpenAI's protocol, such as a local vLLM."""

from __future__ import annotations

import asyncio
import json
import os
import random
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from data_prep.translation.replies import translation
from data_prep.translation.requests import Refusal, Request
from data_prep.translation.troubles import Fate, judge
from xcot_jax.errors import InputError
from xcot_jax.languages import language
from xcot_jax.settings import OpenaiSettings, Settings

_LONGEST_PAUSE = 60.0  # Seconds between tries, unless the server asks for more.
_NONSENSE = 20  # Texts in a row with no completion at all: the endpoint's fault, not theirs.


class ChatEndpoint:
    """Asks a chat model for each text, many at once.

    What passes (timeouts, refused connections, 429, 5xx) is asked again after growing pauses.
    What never will (another 4xx of this text, an empty or cut reply) is a refusal. A wrong key,
    model or address stops at once. When it stops, requests under way are still waited for: their
    replies are paid.
    """

    name = "openai"
    patience = 20

    def __init__(self, settings: Settings) -> None:
        """Checks the settings; nothing is asked yet.

        Raises:
          InputError: for a missing package, model or key, or a prompt without {text}.
        """
        self._settings = chat = settings.prep.translate.openai
        try:
            import aiolimiter  # noqa: F401
            import openai  # noqa: F401
        except ImportError as error:
            raise InputError(
                f'prep.translate.backend = "openai" needs the package {error.name}: '
                "pip install 'xcot-jax[openai]'"
            ) from error
        if not chat.model:
            raise InputError("prep.translate.openai.model is empty: name a model of the endpoint")
        if not chat.base_url.startswith(("http://", "https://")):
            raise InputError(
                f"prep.translate.openai.base_url = {chat.base_url!r} begins with neither http:// "
                "nor https://"
            )
        try:
            urllib.parse.urlsplit(chat.base_url).port  # noqa: B018  it is checked when asked for
        except ValueError as error:
            raise InputError(
                f"prep.translate.openai.base_url = {chat.base_url!r}: {error}"
            ) from error
        self._extra = _extra(chat.extra)
        _check_prompt(chat.prompt)
        self.identity = json.dumps(
            {
                "model": chat.model,
                "prompt": chat.prompt,
                "temperature": chat.temperature,
                "max_tokens": chat.max_tokens,
                "extra": self._extra,
            },
            sort_keys=True,
        )
        self.provenance = (
            f"translated by the model {chat.model!r} of a chat endpoint; its licence and the "
            "provider's terms say what the translations may be used for"
        )

    def check(self, source: str, target: str) -> None:
        """Any pair of languages may be asked for."""

    def translate(self, requests: Sequence[Request]) -> Iterator[tuple[Request, str | Refusal]]:
        """Asks for all of them, `concurrency` at a time."""
        with asyncio.Runner() as runner:
            crew = _Crew(self._settings, self._extra, requests)
            try:
                while finished := runner.run(crew.finished()):
                    yield from finished
                if crew.stopped is not None:
                    raise crew.stopped
            finally:
                runner.run(crew.close())


class _Crew:
    """The requests of one call, as tasks of an event loop."""

    def __init__(
        self, settings: OpenaiSettings, extra: dict[str, Any], requests: Sequence[Request]
    ) -> None:
        import openai
        from aiolimiter import AsyncLimiter

        self._settings = settings
        self._fields: dict[str, Any] = {"extra_body": extra}
        if settings.max_tokens:
            self._fields["max_tokens"] = settings.max_tokens
        self._waiting = iter(requests)
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            # Local servers want none, but the package wants a text.
            api_key=os.environ.get(settings.key_variable, "").strip() or "none",
            timeout=settings.timeout,
            max_retries=0,
        )
        rate = settings.requests_per_minute
        self._limiter = AsyncLimiter(1, 60 / rate) if rate else None  # Evenly, without bursts.
        self._tasks: set[asyncio.Task[tuple[Request, str | Refusal]]] = set()
        self._asking: set[asyncio.Task[Any] | None] = set()  # Those whose request is under way.
        self._successes = 0
        self._nonsense = 0  # Texts in a row.
        self._quiet_until = 0.0  # When the server wants to be asked again, in the loop's time.
        self.stopped: InputError | None = None

    async def finished(self) -> list[tuple[Request, str | Refusal]]:
        """Waits for some to be finished; none means that all are, or that it `stopped`."""
        while True:
            self._start()
            if not self._tasks:
                return []
            done, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            results = []
            for task in done:
                if task.cancelled():
                    continue
                try:
                    results.append(task.result())
                except InputError as error:
                    self._stop(error)
            if results:
                return results

    def _start(self) -> None:
        while self.stopped is None and len(self._tasks) < self._settings.concurrency:
            request = next(self._waiting, None)
            if request is None:
                break
            self._tasks.add(asyncio.create_task(self._ask(request)))

    def _stop(self, error: InputError) -> None:
        """Begins nothing more; what is under way goes on, as its reply is paid."""
        self.stopped = self.stopped or error
        for task in self._tasks - self._asking:
            task.cancel()

    async def _ask(self, request: Request) -> tuple[Request, str | Refusal]:
        """Asks until there is a translation, or reason to refuse or to stop."""
        tries, failures, successes = 0, 0, self._successes
        while True:
            await self._turn()
            tries += 1
            try:
                result = await self._ask_once(request)
            except Exception as error:
                trouble = judge(error, self._settings)
                if trouble is None:
                    raise
            else:
                self._successes += 1
                self._nonsense = 0
                return request, result
            if trouble.fate is Fate.REFUSE:
                return request, Refusal(trouble.reason, trouble.message)
            if self.stopped is not None:
                raise self.stopped
            if trouble.fate is Fate.STOP:
                raise self._error(trouble.message)
            # Where a limit let others through meanwhile, it is a matter of waiting, not of failing.
            if not (trouble.limited and self._successes > successes):
                failures += 1
            successes = self._successes
            if failures == self._settings.attempts:
                if trouble.fate is Fate.AGAIN:
                    raise self._error(f"{trouble.message}, after {tries} attempts")
                self._nonsense += 1
                if self._nonsense == _NONSENSE:
                    raise self._error(f"{_NONSENSE} texts in a row had {trouble.message}")
                return request, Refusal(trouble.reason, trouble.message)
            await self._pause(tries, trouble.wait)

    async def _ask_once(self, request: Request) -> str | Refusal:
        task = asyncio.current_task()
        self._asking.add(task)
        try:
            completion = await self._client.chat.completions.create(
                model=self._settings.model,
                messages=[{"role": "user", "content": _ask(self._settings.prompt, request)}],
                temperature=self._settings.temperature,
                **self._fields,
            )
            return translation(completion, request.text)
        finally:
            self._asking.discard(task)

    async def _turn(self) -> None:
        """Waits until the next request may be sent."""
        while (quiet := self._quiet_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(quiet)
        if self._limiter is not None:
            await self._limiter.acquire()

    async def _pause(self, tries: int, wanted: float) -> None:
        """Waits after a failed try: longer after each, as long as wanted, not all tasks alike."""
        now = asyncio.get_running_loop().time()
        self._quiet_until = max(self._quiet_until, now + wanted)
        longest = min(self._settings.pause * 2 ** min(tries - 1, 20), _LONGEST_PAUSE)
        await asyncio.sleep(longest * random.uniform(0.5, 1))

    def _error(self, message: str) -> InputError:
        return InputError(f"{self._settings.base_url}: {message}")

    async def close(self) -> None:
        """Lets go of what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()


def _ask(prompt: str, request: Request) -> str:
    """What is asked for a text."""
    return prompt.format(
        text=request.text,
        source=language(request.source).name,
        target=language(request.target).name,
    )


def _check_prompt(prompt: str) -> None:
    marker = "\0text\0"
    try:
        asked = _ask(prompt, Request(marker, "en", "de"))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InputError(
            f"prep.translate.openai.prompt: cannot be filled in ({error!r}); it has {{text}}, and "
            "may have {source} and {target}; other braces are doubled"
        ) from error
    if marker not in asked:
        raise InputError("prep.translate.openai.prompt: has no {text}")


def _extra(text: str) -> dict[str, Any]:
    """The further fields of each request."""
    try:
        fields = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        raise InputError(f"prep.translate.openai.extra: not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InputError("prep.translate.openai.extra: not a JSON object")
    return fields
