"""What sources and publishers speak of: models at one commit, releases, and where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillm.hubs import Publisher, RemoteFile, RemoteModel, Source
from pillm.testing import check_backend, check_plugin, installed_plugin
from pillm.testing.shelf import SHELF, ShelfPublisher, ShelfSource

MODEL = RemoteModel(
    name="acme/tiny",
    commit="0123456789ab" + "0" * 28,
    files=(RemoteFile(name="a", bytes=10, digest="", here=True), RemoteFile(name="b", bytes=7, digest="")),
)


def test_a_model_is_named_by_its_commit_and_knows_what_is_missing() -> None:
    assert MODEL.label == "acme/tiny@0123456789ab"
    assert MODEL.identity == f"acme/tiny@{MODEL.commit}"
    assert MODEL.missing_bytes == 7
    assert RemoteModel(name="acme/tiny", commit="0" * 40, files=MODEL.files, folder=Path()).missing_bytes == 0


@pytest.mark.parametrize("base", [Source, Publisher])
def test_a_backend_that_leaves_a_method_out_cannot_be_built(base: type) -> None:
    half = type("Half", (base,), {"__doc__": "Does nothing.", "name": "half"})
    with pytest.raises(TypeError, match="abstract"):
        half()


def test_the_fakes_conform(tmp_path: Path) -> None:
    check_backend(ShelfSource())
    check_backend(ShelfPublisher())
    with installed_plugin(tmp_path, "shelf", SHELF) as module:
        assert {cls.name for cls in check_plugin(__import__(module))} == {"shelf"}
