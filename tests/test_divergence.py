"""A divergence is part of a model file's record."""

import json

from pillm import Divergence, ModelFile
from pillm.artifacts import to_json

FOUND = Divergence(mean=0.01, low=0.008, high=0.012, p99=0.2, largest=1.5, top1=0.98, positions=500)


def test_it_is_recorded_with_the_file_and_left_out_where_it_was_not_measured(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    measured = to_json(ModelFile.of(tmp_path / "a.gguf", "Q4_0", divergence=FOUND, imatrix=True))
    assert Divergence(**json.loads(json.dumps(measured))["divergence"]) == FOUND
    assert measured["imatrix"] is True
    assert "divergence" not in to_json(ModelFile.of(tmp_path / "a.gguf", "F16"))
