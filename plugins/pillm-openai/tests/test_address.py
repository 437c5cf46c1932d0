"""Whom the teacher asks, and that no secret is shown or sent in clear."""

import logging
import traceback

import pytest
from pillm_openai import OpenAI
from pillm_openai.address import secret_for
from pillm_openai_asking import SECRET, one, requests, teacher

import pillm
from pillm.testing import FakeOpenAIServer, Reply


def test_the_secret_is_sent_and_shown_nowhere(caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    told = f"Incorrect API key provided: {SECRET}"
    with FakeOpenAIServer([Reply.error(401, told), Reply(body={"error": told})]) as server, teacher(server).open() as opened:
        failures = [
            result for _ in range(2) for _, result in OpenAI.answer(opened.model_copy(update={"max_retries": 0}), requests())
        ]
        shown = [repr(opened), repr(opened._line), str(opened.options()), str(opened.identity()), str(failures), caplog.text]
    assert server.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    assert not [text for text in shown if SECRET in text]
    assert "[key]" in failures[0].message


def test_a_secret_given_as_a_name_is_refused_without_being_repeated():
    with pytest.raises(pillm.ConfigError, match="api_key_env") as caught:
        pillm.teacher("openai", model="m", api_key_env=SECRET)
    assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match="api_key_env") as caught:
        OpenAI(model="m", api_key_env=SECRET)
    assert SECRET not in str(caught.value)


def test_a_local_server_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with FakeOpenAIServer() as server:
        assert one(server).content == "ÇA 0"


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(pillm.Unavailable, match=r"export OPENAI_API_KEY=.*Nothing was sent"):
        next(OpenAI(model="m").answer(requests()))


def test_a_missing_key_is_told_before_a_run_asks_anything(monkeypatch):
    OpenAI(model="m").check()
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(pillm.Unavailable, match="OPENAI_API_KEY is not set"):
        OpenAI(model="m").check()
    OpenAI(model="m", base_url="http://localhost:8080/v1").check()


def test_a_key_is_never_sent_in_clear_out_of_the_network():
    with pytest.raises(pillm.UnsafeError, match="https"), OpenAI(model="m", base_url="http://api.example.com/v1").open():
        pass


IN_CLEAR = [
    "http://192.168.1.5:8000/v1",
    "http://gpubox/v1",
    "http://198.18.0.1/v1",
    "http://x.internal/v1",
    "http://[fe80::1]/v1",
]


@pytest.mark.parametrize("url", IN_CLEAR)
def test_a_key_goes_in_clear_to_another_machine_only_where_it_was_named_for_it(url):
    assert secret_for(url, None) == ""
    assert secret_for(url, "OPENAI_API_KEY") == SECRET
    assert secret_for(url.replace("http:", "https:"), None) == SECRET


@pytest.mark.parametrize("host", ["localhost", "api.localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_a_key_goes_freely_to_this_machine(host):
    assert secret_for(f"http://{host}:8080/v1", None) == SECRET


def test_a_recipe_that_is_spelt_out_names_no_key_that_nobody_named():
    spelt_out = OpenAI(model="m", base_url=IN_CLEAR[0]).options()
    again = OpenAI(**{name: value for name, value in spelt_out.items() if name != "use"})
    assert secret_for(IN_CLEAR[0], again.api_key_env) == ""


def test_a_server_that_wants_a_key_and_got_none_is_told_how_to_get_one(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with FakeOpenAIServer([Reply.error(401, "no key " * 100)]) as server:
        failure = one(server)
    assert "authorization" not in server.calls[0].headers or SECRET not in server.calls[0].headers["authorization"]
    assert failure.kind == "credentials"
    assert "No key was sent: name its variable, -o api_key_env=NAME" in failure.message


@pytest.mark.parametrize("url", ["ftp://a/v1", "api.openai.com", "http://user:pass@h/v1", "http://h/v1?key=1", "http://"])
def test_an_address_that_cannot_be_asked_is_refused(url):
    with pytest.raises(pillm.ConfigError, match="base_url"):
        pillm.teacher("openai", model="m", base_url=url)


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@h/v1", f"https://h/v1?api_key={SECRET}", f"https://{SECRET}@h/v1"])
def test_a_secret_in_an_address_is_refused_without_being_repeated(url, monkeypatch):
    with pytest.raises(pillm.ConfigError, match="base_url") as caught:
        pillm.teacher("openai", model="m", base_url=url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(pillm.ConfigError, match="OPENAI_BASE_URL must") as caught:
        OpenAI(model="m").identity()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_the_identity_names_the_server_and_what_is_sent_never_the_tuning(monkeypatch):
    base = OpenAI(model="m", base_url="http://localhost:8080/v1/")
    assert base.identity() == {"use": "openai", "model": "m", "server": "localhost:8080/v1"}
    left_open = OpenAI(model="m", base_url="http://localhost:8080/v1", temperature=None)
    assert left_open.identity() == {**base.identity(), "temperature": None}, "the server's own temperature is not 0"
    assert base.identity() == OpenAI(model="m", base_url="http://LOCALHOST:8080/v1", concurrency=2, max_retries=0).identity()
    assert base.identity() != OpenAI(model="m", base_url="http://localhost:8081/v1").identity()
    assert OpenAI(model="m").identity()["server"] == "api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:8080/v1")
    assert OpenAI(model="m").identity() == base.identity()


@pytest.mark.parametrize("key", ["sk-1234\nsk-5678", "sk-1234é", "“sk-1234”", "sk-\udcff"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_repeated(key, monkeypatch):
    monkeypatch.setenv("TEAM_KEY", key)
    with pytest.raises(pillm.ConfigError, match="TEAM_KEY holds characters that no key has") as refused:
        secret_for("https://api.example.com/v1", "TEAM_KEY")
    assert "sk-" not in str(refused.value)
