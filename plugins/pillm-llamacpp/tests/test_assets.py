from __future__ import annotations

from pathlib import Path

from pillm_llamacpp.converting.assets import copy_assets

import pillm


def test_the_tokenizer_is_copied_and_nothing_else(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    made = copy_assets(checkpoint.path, tmp_path)
    assert sorted(path.name for path in made) == ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in made)
    for path in made:
        assert path.read_bytes() == (checkpoint.path / path.name).read_bytes()
