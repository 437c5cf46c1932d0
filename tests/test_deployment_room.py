"""Whether a board has the memory for a model beside the ones that run: by the planner's figures, with advice that holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pillm
from pillm.deployment import room as room_module
from pillm.deployment.place import Place
from pillm.deployment.room import Room, check_room, memory_of, missing, room_on
from pillm.testing.ggufs import gguf
from pillm.testing.hostile import MODEL, TENSORS
from tests.deploys import Field, bundle

MIB = 1 << 20
WIDE = {
    **MODEL, "llama.block_count": 32, "llama.attention.head_count": 32, "llama.embedding_length": 4096,
    "llama.context_length": 65536,
}  # fmt: skip


@pytest.fixture
def wide(tmp_path: Path) -> pillm.ModelFile:
    """Return a model whose keys and values take half a megabyte a token."""
    (tmp_path / "wide.gguf").write_bytes(gguf(WIDE, TENSORS, 160))
    return pillm.ModelFile.of(tmp_path / "wide.gguf", "F32")


def test_the_context_counts(wide: pillm.ModelFile) -> None:
    small, large = (memory_of(wide.path, context) for context in (256, 8192))
    assert small["weights"] == large["weights"] == wide.bytes
    assert small["kv_cache"] == 256 * 32 * 2 * 4096 * 2
    assert large["kv_cache"] == 32 * small["kv_cache"]
    assert small["buffers"] > 64 * MIB, "the prompt cache of the server"


def test_weights_that_the_processor_holds_in_another_order_are_no_file_that_others_share(tmp_path: Path) -> None:
    from pillm_llamacpp.measuring.timefiles import SMALL, write_file

    file = write_file(tmp_path / "small.gguf", SMALL, "Q4_0")
    plain, copied = (memory_of(file, 256, flags) for flags in ((), ("asimddp",)))
    assert copied["buffers"] - plain["buffers"] == plain["weights"] - copied["weights"] > 0.9 * plain["weights"]
    room = Room(available=sum(plain.values()), mapped=0, files=("0123456789abcdef-m.gguf",))
    assert missing(copied, room, "f" * 64) == 0, "the pages that were copied are given back"


def test_a_model_that_loads_slower_for_want_of_room_is_not_refused_and_said_to(
    served: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pillm_llamacpp.measuring.timefiles import SMALL, write_file

    model = pillm.ModelFile.of(write_file(tmp_path / "small.gguf", SMALL, "Q4_0"), "Q4_0")
    bare = sum(memory_of(model.path, 256).values())
    with served.board.remote() as remote:
        place = Place.find(remote, "default")
        for flags, available, slower in ((("asimddp",), bare, True), (("asimddp",), 2 * bare, False), ((), bare, False)):
            has = Room(available=available, mapped=0, flags=frozenset(flags))
            monkeypatch.setattr(room_module, "room_on", lambda _, has=has: has)
            assert ("it loads slower for it" in check_room(place, model, 256)[0]) is slower
        monkeypatch.setattr(room_module, "room_on", lambda _: Room(available=bare - 1, mapped=0, flags=frozenset({"asimddp"})))
        with pytest.raises(pillm.ConfigError, match="the program and weights that it lays out anew"):
            check_room(place, model, 256)


def test_a_board_tells_what_the_servers_on_it_have_mapped(served: Field) -> None:
    with served.board.remote() as remote:
        found = room_on(Place.find(remote, "default"))
    assert found is not None
    assert found.mapped > 1 * MIB
    assert [name.partition("-")[2] for name in found.files] == ["old.gguf"]
    assert 0 < found.left < found.available


def test_what_does_not_fit_beside_the_running_model_is_refused_with_what_would(
    served: Field, wide: pillm.ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    has = Room(available=1500 * MIB, mapped=300 * MIB, files=("0123456789abcdef-old.gguf",))
    monkeypatch.setattr(room_module, "room_on", lambda _: has)  # this machine's own memory is another on every day
    with served.board.remote() as remote:
        place = Place.find(remote, "default")
        said = check_room(place, wide, 1024)
        assert "of memory are needed at 1024 tokens" in said[0]
        with pytest.raises(pillm.ConfigError, match=r"wide\.gguf needs .*4\.3 GB for keys.*Nothing was sent") as refused:
            check_room(place, wide, 8192)
        assert "1.3 GB are left beside the 315 MB of the model that answers now" in str(refused.value)
        context = int(str(refused.value).rpartition("--context ")[2].split()[0])
        assert check_room(place, wide, context)
        with pytest.raises(pillm.ConfigError):
            check_room(place, wide, context + 256)
        with pytest.raises(pillm.ConfigError, match="memory there"):
            pillm.deploy(bundle(wide.path, None), remote, pillm.Service(server=served.server, context=8192))
    assert not list((Path(place.root) / "files").glob("*wide*"))


@pytest.mark.parametrize(
    ("available", "mapped", "advice"),
    [
        (420, 0, r"A file of \d+ MB would fit at this context\."),
        (700, 400, r"It fits alone: .*serve\.sh stop.*another --name"),
        (60, 0, r"Choose a smaller model, or free memory there\."),
    ],
)
def test_the_advice_holds(served: Field, tmp_path: Path, available: int, mapped: int, advice: str) -> None:
    path = tmp_path / "long.gguf"
    with path.open("wb") as file:
        file.write(gguf(MODEL, TENSORS, 160))
        file.truncate(300 * MIB)  # a file with holes
    model = pillm.ModelFile(path=path, quant="Q8_0", bytes=300 * MIB, sha256="f" * 64)
    has = Room(available=available * MIB, mapped=mapped * MIB)
    with pytest.MonkeyPatch.context() as patch, served.board.remote() as remote:
        patch.setattr(room_module, "room_on", lambda _: has)
        place = Place.find(remote, "default")
        with pytest.raises(pillm.ConfigError, match=advice):
            check_room(place, model, 64)


@pytest.mark.full
def test_going_back_needs_room_too(served: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    served.deploy(1)
    monkeypatch.setattr(room_module, "room_on", lambda _: Room(available=MIB, mapped=0))
    with served.board.remote() as remote, pytest.raises(pillm.ConfigError, match=r"old\.gguf needs .*Nothing was changed"):
        pillm.roll_back(remote, pillm.Service(server=served.server))


SIZES = st.integers(0, 1 << 40)


@given(SIZES, SIZES, SIZES, SIZES, st.booleans())
def test_a_file_that_is_mapped_already_is_not_counted_twice(
    weights: int, kept: int, available: int, mapped: int, same: bool
) -> None:
    needs = {"weights": weights, "kv_cache": kept, "buffers": 0}
    room = Room(available=available, mapped=mapped, files=("0123456789abcdef-m.gguf",))
    lacks = missing(needs, room, "0123456789abcdef" * 4 if same else "f" * 64)
    assert lacks == max(kept + (0 if same else weights) - max(available - mapped, 0), 0)
