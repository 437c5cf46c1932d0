"""A GGUF file with further keys in its header, as an exporter would have written them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from pillm_llamacpp import source


def with_keys(file: Path, out: Path, **keys: str | int) -> Path:
    """Write a file's copy with these keys, in place of what it says under them; a number is one of 32 bits."""
    tree = str(source.require() / "gguf-py")
    if tree not in sys.path:
        sys.path.insert(0, tree)
    gguf = import_module("gguf")
    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(out, keys.get("general.architecture") or reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in keys:
            continue
        listed = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=field.types[-1] if listed else None)
    for name, value in keys.items():
        if name != "general.architecture":
            (writer.add_string if isinstance(value, str) else writer.add_uint32)(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
