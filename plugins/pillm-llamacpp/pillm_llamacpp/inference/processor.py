"""For what processor the installed llama.cpp was built, and what of it is used."""

from __future__ import annotations

from functools import lru_cache

import llama_cpp.llama_cpp as llama


def features() -> str:
    """Return for what processor llama.cpp was built and what of it is in use, as it says itself."""
    return bytes(llama.llama_print_system_info()).decode("utf-8", "replace").strip(" |")


@lru_cache(maxsize=1)
def built_with_tiles() -> bool:
    """Say whether llama.cpp was built to use the matrix tiles (AMX) of this processor.

    They are left alone then: GCC up to 12.3 and 13.2 (Debian 12's among them) drops most of the tile configuration that ggml
    writes, since its header says that one word of it is read, and the first product faults.
    """
    return "AMX_INT8 = 1" in features()


def repacks() -> bool:
    """Say whether weights are arranged anew for the processor when a model is loaded, where there is a form for it."""
    return "REPACK = 1" in features() and not built_with_tiles()
