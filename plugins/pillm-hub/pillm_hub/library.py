"""The hub's own library, told to keep to itself what is installed and who is at work on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pillm

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def hub_api(endpoint: str | None) -> HfApi:
    """Return what asks the hub, at another address where one is given."""
    from huggingface_hub import HfApi

    _keep_quiet()
    return HfApi(endpoint=endpoint, library_name="pillm", library_version=pillm.__version__)


def request_headers() -> dict[str, str]:
    """Return the headers of a request to the hub: the token, where there is one, and nothing of this machine."""
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    _keep_quiet()
    return {**build_hf_headers(library_name="pillm", library_version=pillm.__version__), "Accept-Encoding": "identity"}


def _keep_quiet() -> None:
    """Turn the library's telemetry off: it names installed programs in each request, and asks who might be driving them."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_TELEMETRY = True
