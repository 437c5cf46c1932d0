"""What a file says of the system message that its student was trained under, so that it can be asked as in training."""

from __future__ import annotations

import pillm

AFTER, PLAIN, VARIED = "after pillm.system", "as it is", "each row in its own way"
"""What `pillm.asked` may say; the scripts of rpi4/ read it."""


def asked_keys(checkpoint: pillm.Checkpoint) -> dict[str, str]:
    """Return `pillm.asked`, and `pillm.system` where one message stood before every row; nothing for a stranger's model."""
    contract = checkpoint.contract
    if not contract.get("hash") or pillm.is_encoder(checkpoint.config):
        return {}
    firsts = {_first(probe) for probe in checkpoint.probes()}
    if not firsts:  # no row is known
        firsts = {str(contract.get("system") or "") if contract.get("schema_in_prompt", "none") == "none" else None}
    system = firsts.pop()
    if firsts or system is None:
        return {"pillm.asked": VARIED}
    return {"pillm.asked": AFTER, "pillm.system": system} if system else {"pillm.asked": PLAIN}


def _first(probe: pillm.Probe) -> str | None:
    """Return what a row's system message says, nothing where there is none, None where it is no plain text."""
    first = probe.messages[0] if probe.messages else {}
    said = first.get("content") or "" if first.get("role") in ("system", "developer") else ""
    return said if isinstance(said, str) else None
