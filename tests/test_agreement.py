"""How near a file computes to its checkpoint."""

from __future__ import annotations

from pillm.agreement import Agreement


def test_logits_and_embeddings_are_each_told_in_a_sentence() -> None:
    near = Agreement(places=500, largest=0.0123, top1=0.998, ties=1, kld=2.5e-6)
    assert str(near) == "top-1 99.8% (1 ties), KLD 2.5e-06 over 500 tokens, logits differ by at most 1.2e-02"
    assert "ties" not in str(Agreement(places=500, largest=0.0123, top1=1.0, kld=2.5e-6))
    told = str(Agreement(places=8, largest=1e-4, cosine=0.99999))
    assert told == "cosine at least 0.99999 over 8 texts, numbers differ by at most 1.0e-04"
