"""What a runner may say that it can do, and what that promises; `pillm.testing.check_runner` holds it to that."""

from __future__ import annotations

CAPABILITIES = {
    "answer": "its sessions answer requests",
    "bench": "its sessions time prefill and decode",
    "embed": "its sessions turn texts into vectors",
    "grammar": "the option `constrain` holds answers to the row's JSON Schema while they are written",
    "logprobs": "the option `logprobs` records alternatives with their log-probabilities",
    "prefix": "what prompts have in common at their beginning is computed once, and the option `prefix` keeps it in a file",
}
OPTIONS = {"grammar": "constrain", "logprobs": "logprobs", "prefix": "prefix"}
"""The option that a capability goes by."""
