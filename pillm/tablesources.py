"""Where tables are: a file here, or an address that a plugin reads, such as `hf://owner/name`."""

from __future__ import annotations

from pathlib import Path

from pillm.errors import DataError, MissingDependency, PluginError, did_you_mean
from pillm.plugins import registry
from pillm.tablefile import Table, read_table_file

HOMES = {"hf": "pillm-hf"}
"""What pillm's own plugins read, so that an address whose plugin is not installed is answered with how to get it."""


def read_table(source: str | Path) -> Table:
    """Return the table of a CSV or JSON lines file, or of an address whose scheme an installed plugin reads.

    Rows are read when they are asked for. Raises DataError for what is no table, MissingDependency where the plugin of an
    address is not installed, Unavailable where its place is out of reach.
    """
    scheme, sign, _ = str(source).partition("://")
    if not sign or isinstance(source, Path):
        return read_table_file(Path(source))
    asked = registry().ask("pillm_tables")
    claims = [(status, readers[scheme]) for status, readers in asked if scheme in readers]
    if len(claims) > 1:
        raise PluginError(f"addresses {scheme}:// are read by {' and '.join(status.distribution for status, _ in claims)}.")
    if claims:
        table: Table = claims[0][1](str(source))
        return table
    if home := HOMES.get(scheme):
        raise MissingDependency(
            f"{scheme}:// is read by the plugin {home}, which is not installed or is switched off: pip install {home} "
            f"(from a checkout: pip install ./plugins/{home})"
        )
    known = sorted({name for _, readers in asked for name in readers})
    raise DataError(
        f"no installed plugin reads {scheme}:// addresses.{did_you_mean(scheme, known)} "
        f"Known: {', '.join(known) or 'none'}. Or give a file."
    )
