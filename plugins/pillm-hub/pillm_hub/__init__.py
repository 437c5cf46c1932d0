"""Models of the Hugging Face hub, both ways: the source `hub` fetches them, the publisher `hub` puts a run's files there."""

from __future__ import annotations

import pillm
from pillm_hub.publisher import HubPublisher
from pillm_hub.source import HubSource

__all__ = ["HubPublisher", "HubSource"]


@pillm.hookimpl
def pillm_sources() -> list[type[pillm.Source]]:
    """Return the source `hub`."""
    return [HubSource]


@pillm.hookimpl
def pillm_publishers() -> list[type[pillm.Publisher]]:
    """Return the publisher `hub`."""
    return [HubPublisher]
