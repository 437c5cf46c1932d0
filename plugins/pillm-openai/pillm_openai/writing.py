"""How bodies are written."""

from __future__ import annotations

import json
from typing import Any


def encoded(body: Any) -> bytes:
    """Return JSON as short as it can be, in UTF-8."""
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
