from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pillm_llamacpp.packing.asked import AFTER, PLAIN, VARIED, asked_keys
from pillm_llamacpp_boardtools import RPI4

import pillm
from pillm.deployment import systemturn


def told(checkpoint: pillm.Checkpoint, out: Path, *systems: object, **contract: object) -> dict[str, str]:
    """Return the keys of a copy whose rows begin with these system messages, none for an empty one."""
    folder = Path(shutil.copytree(checkpoint.path, out))
    pillm.Contract(**contract).save(folder / "contract.json")  # type: ignore[arg-type]
    probe = json.loads((folder / "probes.jsonl").read_text().splitlines()[0])
    rows = [
        {**probe, "messages": [*([{"role": "system", "content": system}] if system else []), *probe["messages"]]}
        for system in systems
    ]
    (folder / "probes.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return asked_keys(pillm.Checkpoint(path=folder))


@pytest.mark.parametrize(
    ("systems", "contract", "keys"),
    [
        (("one", "one"), {"system": "one"}, {"pillm.asked": AFTER, "pillm.system": "one"}),
        (("", ""), {}, {"pillm.asked": PLAIN}),
        (("one", ""), {}, {"pillm.asked": VARIED}),
        (([{"type": "text", "text": "one"}],), {}, {"pillm.asked": VARIED}),
        ((), {"system": "one"}, {"pillm.asked": AFTER, "pillm.system": "one"}),
        ((), {}, {"pillm.asked": PLAIN}),
        ((), {"schema_in_prompt": "text"}, {"pillm.asked": VARIED}),
    ],
)
def test_a_file_says_the_system_message_that_every_row_had(
    checkpoint: pillm.Checkpoint, tmp_path: Path, systems: tuple[object, ...], contract: dict[str, object], keys: dict[str, str]
) -> None:
    assert told(checkpoint, tmp_path / "copy", *systems, **contract) == keys


def test_a_model_that_pillm_did_not_train_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert asked_keys(pillm.Checkpoint(path=tmp_path)) == {}


def test_the_scripts_of_the_board_know_what_a_file_may_say() -> None:
    text = (RPI4 / "header.sh").read_text()
    assert [word for word in (AFTER, PLAIN, VARIED) if f"'{word}')" not in text] == []
    assert (AFTER, PLAIN, VARIED) == (systemturn.AFTER, systemturn.PLAIN, systemturn.VARIED)  # what `pillm deploy` reads
    assert systemturn.HAS_ONE in text  # and a service asks as a deployment does
