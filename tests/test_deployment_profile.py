"""The command line of llama-server on a small board."""

from __future__ import annotations

from itertools import pairwise

import pytest

import pillm
from pillm.deployment.profile import Profile, arguments
from tests.programs import llama_server

FULL = "--model --host --ctx-size --parallel --batch-size --ubatch-size --cache-ram --ctx-checkpoints --load-mode --no-ui"
PROFILE = Profile(server="llama-server", context=512, threads=3)
FILE = {"label": "a,b-Q8_0", "sha256": "0123456789abcdef" * 4}
MORE = "--no-slots --cors-origins --offline --log-verbosity --metrics --alias --threads --threads-batch --temp --predict"
NEW = f"{FULL} {MORE}".split()


def server(*flags: str, path: str = "/usr/bin/llama-server") -> pillm.LlamaProgram:
    return pillm.LlamaProgram(path=path, version="b1", flags=dict.fromkeys(flags, "X"))


def test_what_a_small_board_cannot_afford_is_limited() -> None:
    words, dropped = arguments(server(*NEW), "0a1b", PROFILE, **FILE)
    assert words[:5] == ["/usr/bin/llama-server", "--model", "0123456789abcdef-model.gguf", "--host", "../../run/0a1b.sock"]
    pairs = dict(pairwise(words))
    assert (pairs["--ctx-size"], pairs["--parallel"], pairs["--cache-ram"], pairs["--threads"]) == ("512", "1", "64", "3")
    assert "--no-ui" in words
    assert (pairs["--temp"], pairs["--predict"]) == ("0", "512"), "as the file was scored, and never without an end"
    assert pairs["--alias"] == "a_b-Q8_0,~0a1b", "the model's own name comes first, also where names are sorted"
    assert sorted(pairs["--alias"].split(","))[0] == "a_b-Q8_0"
    assert dropped == ()


def test_other_versions_get_the_names_they_know_and_what_they_lack_is_said() -> None:
    old = ({*NEW} - {"--no-ui", "--cache-ram", "--log-verbosity"}) | {"--no-webui", "--verbosity"}
    words, dropped = arguments(server(*old), "0a1b", PROFILE, **FILE)
    assert "--no-webui" in words
    assert "--verbosity" in words
    assert dropped == ("--cache-ram",)


def test_another_program_is_refused() -> None:
    with pytest.raises(pillm.ConfigError, match="does not know --model"):
        arguments(server("--all", "--author", path="ls"), "0a1b", PROFILE, **FILE)


@pytest.mark.parametrize("path", ["a\nb", "a\0b", ""])
def test_what_cannot_stand_on_a_line_is_refused(path: str) -> None:
    with pytest.raises(pillm.ConfigError, match="cannot stand"):
        arguments(server(*NEW, path=path), "0a1b", PROFILE, **FILE)


def test_the_llama_server_of_this_machine_knows_every_flag() -> None:
    found = pillm.find_llama_program(pillm.LocalMachine(), str(llama_server()))
    assert arguments(found, "0a1b", PROFILE, **FILE)[1] == ()
