"""The `openai` back end against a real local endpoint, through all the trouble it can make."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="the openai extra is not installed")
pytest.importorskip("aiolimiter", reason="the openai extra is not installed")

from data_prep.translation.requests import Request
from data_prep.translation.stage import Translations
from data_prep.translation.troubles import retry_after
from tests.data_prep.translation.client import settings, texts
from tests.data_prep.translation.server import BODIES, KEY, Server, translation
from xcot_jax.errors import InputError

CLIENT = Path(__file__).with_name("client.py")


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache.sqlite"


def make(server, cache, requests, **changes):
    with Translations.open(settings(server.base_url, **changes), cache) as translations:
        counts = translations.make(requests, "translate sw", len(requests))
        return dict(counts), {r: translations.find(r) for r in requests}


def right(requests):
    return {r: translation(r.text, "Swahili" if r.target == "sw" else "German") for r in requests}


def stored(cache):
    """The source texts in a cache, read as SQLite's own tools would, and their translations."""
    with contextlib.closing(sqlite3.connect(cache)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(database.execute("SELECT text, translation FROM translations"))


def times_asked(report):
    return {key.partition("|")[2]: count for key, count in report["asked"].items()}


TROUBLE = {
    "none": {},
    "errors": {"trouble": ("500", "502", "503", "529", "408"), "rate": 0.5, "most": 3},
    "connections": {"trouble": ("drop",), "rate": 0.5, "most": 3},
    "nonsense": {"trouble": tuple(BODIES), "rate": 0.5, "most": 3},
    "limits": {"window": 6},
    "limits that say how long": {"window": 6, "retry_after": 0.15},
    "everything": {
        "trouble": ("500", "503", "429", "drop", *BODIES),
        "rate": 0.6,
        "most": 4,
        "retry_after": 0.01,
        "delay": 0.002,
    },
}


def test_texts_are_asked_for_side_by_side(server, cache):
    server.behave(delay=0.3)
    make(server, cache, texts(16), concurrency=8)
    assert 1 < server.report()["most_active"] <= 8


@pytest.mark.parametrize("trouble", TROUBLE)
def test_every_text_gets_its_translation_once_whatever_the_trouble(server, cache, trouble):
    server.behave(**TROUBLE[trouble])
    requests = [*texts(24), *(Request(r.text, "en", "de") for r in texts(8))]
    counts, found = make(server, cache, requests, concurrency=8)
    assert found == right(requests)
    assert counts == {"made": 32}
    report = server.report()
    assert set(report["replied"].values()) == {1}
    assert report["most_active"] <= 8
    # All is in the cache: the endpoint hears nothing of a second run.
    assert make(server, cache, requests) == ({"cached": 32}, found)
    assert server.report()["asked"] == report["asked"]


def test_a_server_that_hangs_is_asked_again(server, cache):
    server.behave(trouble=("hang",), rate=0.3, most=1)
    requests = texts(6)
    _, found = make(server, cache, requests, timeout=0.4, concurrency=6)
    assert found == right(requests)
    assert max(server.report()["asked"].values()) > 1


def test_no_request_comes_before_the_time_the_server_asks_for(server, cache):
    server.behave(trouble=("429",), rate=0.4, most=2, retry_after=0.1)
    make(server, cache, texts(12), concurrency=1)
    report = server.report()
    assert sum(report["asked"].values()) > 12
    assert report["early"] == 0


def test_waiting_times_are_seconds_or_a_date():
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    date = email.utils.format_datetime(then, usegmt=True)
    assert 80 < retry_after({"retry-after": date}) <= 90
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({}) == retry_after({"retry-after": "soon"}) == 0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


def test_the_rate_limit_spreads_requests_evenly(server, cache):
    server.behave()
    make(server, cache, texts(6), requests_per_minute=600, concurrency=6)
    times = sorted(server.report()["times"])
    assert times[-1] - times[0] > 5 * 0.1 - 0.05


def test_an_endpoint_that_stays_out_of_order_stops_the_run_and_loses_nothing(server, cache):
    requests = texts(40)
    server.behave(trouble=("503",), good=17, delay=0.01)
    with pytest.raises(InputError, match=r"HTTP 503.*after 3 attempts") as error:
        make(server, cache, requests, attempts=3, concurrency=4)
    report = server.report()
    assert set(stored(cache)) == {key.partition("|")[2] for key in report["replied"]}
    assert f"17 translations are safe in {cache}; the same command goes on" in str(error.value)

    server.behave()
    counts, found = make(server, cache, requests)
    assert counts == {"cached": 17, "made": 23} and found == right(requests)
    assert set(times_asked(server.report())).isdisjoint(
        key.partition("|")[2] for key in report["replied"]
    )


def test_replies_under_way_are_kept_when_the_run_stops(server, cache):
    server.behave(delay=0.3)
    requests = [*texts(5), Request("[403] stop", "en", "sw"), *texts(20)[5:]]
    with pytest.raises(InputError, match="HTTP 403"):
        make(server, cache, requests, concurrency=8)
    replied = {key.partition("|")[2] for key in server.report()["replied"]}
    assert len(replied) >= 5 and set(stored(cache)) == replied


def test_nobody_listening(cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = settings(f"http://127.0.0.1:{port}/v1", attempts=2)
    with (
        Translations.open(run, cache) as translations,
        pytest.raises(InputError, match=rf"127\.0\.0\.1:{port}.*no connection.*after 2 attempts"),
    ):
        translations.make(texts(3), "translate sw")


def test_a_wrong_key_stops_at_once_and_names_the_variable(server, cache, monkeypatch):
    server.behave(locked=True)
    monkeypatch.setenv("XCOT_TEST_KEY", "wrong")
    options = {"key_variable": "XCOT_TEST_KEY", "concurrency": 2}
    with pytest.raises(InputError, match="401.*environment variable XCOT_TEST_KEY"):
        make(server, cache, texts(30), **options)
    assert sum(server.report()["asked"].values()) <= 2
    monkeypatch.setenv("XCOT_TEST_KEY", f" {KEY}\n")
    assert make(server, cache, texts(3), **options)[0] == {"made": 3}


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("a", {"model": "another"}, r"404.*prep\.translate\.openai\.model \(another\)"),
        ("[405] a", {}, "HTTP 405"),
        ("[402] a", {}, "HTTP 402"),
        ("[429 quota] a", {}, "no quota left"),
    ],
)
def test_what_never_passes_stops_at_once(server, cache, text, changes, message):
    server.behave()
    with pytest.raises(InputError, match=message):
        make(server, cache, [Request(text, "en", "sw")], **changes)
    assert sum(server.report()["asked"].values()) == 1


def test_a_quota_of_tomorrow_is_not_waited_for(server, cache):
    server.behave(trouble=("429",), rate=1.0, retry_after=7200)
    with pytest.raises(InputError, match="come back in 120 minutes"):
        make(server, cache, texts(1))


def test_refused_texts_are_counted_and_not_kept(server, cache):
    server.behave()
    refused = [
        Request(f"[{kind}] {number}", "en", "sw")
        for number, kind in enumerate(
            ("400", "400", "413", "422", "empty", "length", "html", "no choices")
        )
    ]
    requests = [*texts(10), *refused]
    counts, found = make(server, cache, requests, attempts=2)
    assert counts == {
        "made": 10,
        "refused: HTTP 400": 2,
        "refused: HTTP 413": 1,
        "refused: HTTP 422": 1,
        "refused: empty reply": 1,
        "refused: reply cut off": 1,
        "refused: reply is no completion": 2,
    }
    assert found == right(requests[:10]) | dict.fromkeys(refused)
    asked = times_asked(server.report())
    assert {asked[r.text] for r in refused if r.text[1] in "4el"} == {1}
    assert {asked[r.text] for r in refused[-2:]} == {2}


def test_an_endpoint_that_refuses_everything_stops_the_run(server, cache):
    server.behave()
    refused = [Request(f"[400] {number}", "en", "sw") for number in range(60)]
    with pytest.raises(InputError, match="none of the first texts.*20 refused: HTTP 400.*no, 400"):
        make(server, cache, refused, concurrency=2)
    assert sum(server.report()["asked"].values()) < 30
    # Where it has translated anything before, the texts are to blame, now and in later runs.
    make(server, cache, texts(1))
    assert make(server, cache, refused)[0] == {"refused: HTTP 400": 60}


def test_an_endpoint_that_becomes_a_web_page_stops_the_run(server, cache):
    server.behave(trouble=("html",), good=10)
    with pytest.raises(InputError, match="20 texts in a row.*It works!.*\n10 translations"):
        make(server, cache, texts(60), concurrency=4, attempts=1)


def test_the_cache_is_of_model_and_prompt_not_of_the_address(server, cache):
    server.behave()
    other = Server()
    try:
        make(server, cache, texts(5))
        same = {"concurrency": 3, "timeout": 9.0, "attempts": 2}
        assert make(other, cache, texts(5), **same)[0] == {"cached": 5}
    finally:
        other.close()
    for change in (
        {"prompt": "{target}|{text} "},
        {"temperature": 0.5},
        {"max_tokens": 0},
        {"extra": '{"seed": 1}'},
    ):
        assert make(server, cache, texts(5), **change)[0] == {"made": 5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, r"openai\.model is empty"),
        ({"prompt": "Translate into {target}."}, r"has no \{text\}"),
        ({"prompt": "{text} {language}"}, r"openai\.prompt: cannot be filled in.*language"),
        ({"prompt": "{text} {"}, r"openai\.prompt: cannot be filled in"),
        ({"extra": "{"}, r"openai\.extra: not valid JSON"),
        ({"extra": "[]"}, r"openai\.extra: not a JSON object"),
    ],
)
def test_settings_that_cannot_work(cache, changes, message):
    with pytest.raises(InputError, match=message):
        Translations.open(settings("http://127.0.0.1:9/v1", **changes), cache)
    with pytest.raises(InputError, match="base_url.*localhost"):
        Translations.open(settings("localhost:8000/v1"), cache)


@pytest.mark.parametrize("package", ["openai", "aiolimiter"])
def test_a_missing_package_is_named_with_its_extra(cache, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}: pip install 'xcot-jax\[openai\]'"):
        Translations.open(settings("http://127.0.0.1:9/v1"), cache)


def start(server, cache, count):
    job = {"base_url": server.base_url, "cache": str(cache), "count": count, "concurrency": 4}
    return subprocess.Popen(
        [sys.executable, str(CLIENT), json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_ctrl_c_ends_it_at_once_and_the_rest_is_made_later(server, tmp_path):
    cache = tmp_path / "c.sqlite"
    server.behave(delay=0.05)
    process = start(server, cache, 200)
    while process.poll() is None and len(server.report()["replied"]) < 10:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (None, 0) and output.rstrip().endswith("KeyboardInterrupt")
    asked = server.report()["asked"]
    kept = stored(cache)
    assert len(asked) - len(kept) <= 4
    server.behave()
    counts, _ = make(server, cache, texts(200))
    assert counts == {"cached": len(kept), "made": 200 - len(kept)}


def test_killed_at_random_moments_equals_undisturbed(server, tmp_path):
    count, kills_wanted, rng = 300, 6, random.Random(4)
    requests = texts(count)
    expected = {r.text: text for r, text in right(requests).items()}
    server.behave(delay=0.005)
    undisturbed = tmp_path / "undisturbed.sqlite"
    make(server, undisturbed, requests)
    assert stored(undisturbed) == expected

    killed = tmp_path / "killed.sqlite"
    server.behave(delay=0.005)
    kept: dict[str, int] = {}  # Texts in the cache -> how often they had been asked for.
    kills = 0
    while True:
        process = start(server, killed, count)
        more = sum(server.report()["replied"].values()) + rng.randint(1, 25)
        while process.poll() is None:
            if kills < kills_wanted and sum(server.report()["replied"].values()) >= more:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        output, _ = process.communicate()
        asked = times_asked(server.report())
        assert all(asked[text] == times for text, times in kept.items())
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, output
        kills += 1
        kept = {text: asked[text] for text in stored(killed)}
    assert kills == kills_wanted
    assert stored(killed) == expected
    # What was under way when it was killed, and no more, was asked for again.
    assert sum(asked.values()) - count <= 4 * kills
