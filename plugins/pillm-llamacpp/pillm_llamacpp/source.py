"""The pinned llama.cpp source, fetched once by pip, checked by sha256 and kept in the user's cache; its converter unpacked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pillm

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "0.3.36"
"""Version of the llama-cpp-python release that carries the source; the installed library is the same release."""
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
COMMIT = "0c1e57098"
IDENTITY = f"llama.cpp {COMMIT} (llama-cpp-python {VERSION}, sha256 {SHA256[:8]})"
REMEDY = "pillm-llamacpp fetch"

_SDIST = f"llama_cpp_python-{VERSION}.tar.gz"
_PREFIX = PurePosixPath(f"llama_cpp_python-{VERSION}/vendor/llama.cpp")
_CONVERTER = ("convert_hf_to_gguf.py", "LICENSE", "licenses", "conversion", "gguf-py/gguf", "gguf-py/LICENSE")
_MAX_BYTES = 64 * 1024 * 1024
_STAND_IN = f"""
import os


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "llama_cpp_python-{VERSION}.dist-info"
    os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: {VERSION}\\n")
    return name
"""
"""The build tool that the archive names, which builds nothing and only says which release it is."""


def cache_folder() -> Path:
    """Return the folder that holds the unpacked source and the archive that it came from."""
    from platformdirs import user_cache_path

    return user_cache_path("pillm") / "llama.cpp"


def tree_folder() -> Path:
    """Return where the unpacked source is, or will be."""
    return cache_folder() / f"{VERSION}-{SHA256[:8]}"


def archive_path() -> Path:
    """Return where the source archive is kept."""
    return cache_folder() / _SDIST


def require() -> Path:
    """Return the unpacked source; raise MissingDependency with the command that fetches it."""
    tree = tree_folder()
    if not (tree / "convert_hf_to_gguf.py").is_file():
        raise pillm.MissingDependency(
            f"the llama.cpp converter is not installed ({tree} is missing). Nothing was written. Get it once with: {REMEDY}"
        )
    return tree


def fetch(archive: Path | None = None) -> Path:
    """Download, check and unpack the source unless that was done before; return its folder.

    `archive` is the source archive where it is at hand already, for a machine without a network. Raises UnsafeError
    where its sha256 is not the pinned one, Unavailable where it cannot be downloaded.
    """
    tree = tree_folder()
    with lock(cache_folder()):
        if not (tree / "convert_hf_to_gguf.py").is_file() or not archive_path().is_file():
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache_folder()) as scratch:
                _install(archive or _download(Path(scratch)), Path(scratch), tree)
    return tree


def _install(archive: Path, scratch: Path, tree: Path) -> None:
    _check(archive)
    unpacked = scratch / "tree"
    unpack(archive, unpacked, _CONVERTER)
    if archive.parent == scratch:
        archive.replace(archive_path())
    else:
        kept = scratch / _SDIST
        shutil.copyfile(archive, kept)
        _check(kept)
        kept.replace(archive_path())
    if tree.exists():
        tree.rename(scratch / "old")
    unpacked.rename(tree)


def _download(scratch: Path) -> Path:
    """Ask pip for the archive, which it holds against the pinned hash; nothing from the network is run.

    pip would run the archive's build tool, and download that one unpinned, only to read the archive's name: a stand-in tells.
    """
    wanted, tool = scratch / "requirements.txt", scratch / "tool"
    wanted.write_text(f"llama-cpp-python=={VERSION} --hash=sha256:{SHA256}\n", "utf-8")
    (tool / "scikit_build_core").mkdir(parents=True)
    (tool / "scikit_build_core" / "__init__.py").touch()
    (tool / "scikit_build_core" / "build.py").write_text(_STAND_IN, "utf-8")
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(scratch), "--requirement", str(wanted)]
    told = {**os.environ, "PYTHONPATH": str(tool)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=told)
    if "No module named pip" in done.stderr:
        raise pillm.MissingDependency(
            f"{sys.executable} has no pip, which fetches the source. Get it with: {sys.executable} -m ensurepip"
        )
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise pillm.Unavailable(f"llama.cpp's source could not be downloaded; nothing was changed. pip said:\n{tail}")
    return scratch / _SDIST


def _check(archive: Path) -> None:
    try:
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise pillm.DataError(f"{archive} cannot be read: {error.strerror}.") from error
    if found != SHA256:
        raise pillm.UnsafeError(
            f"{archive} has sha256 {found}, not the pinned {SHA256}. It was not unpacked; nothing was changed."
        )


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...] = ("",), *, most: int = _MAX_BYTES) -> None:
    """Write the wanted files of llama.cpp, by default all, below `folder`; at most `most` bytes.

    Links, devices and odd paths in the archive are never followed. Raises UnsafeError where it holds more.
    """
    size = 0
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            inside = _wanted(member, wanted)
            if inside is None:
                continue
            size += member.size
            source = tar.extractfile(member)
            if size > most or source is None:
                raise pillm.UnsafeError(f"{archive} holds more than it should; it was not unpacked.")
            path = folder.joinpath(*inside.parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            with source, path.open("wb") as file:
                shutil.copyfileobj(source, file)


def _wanted(member: tarfile.TarInfo, wanted: tuple[str, ...]) -> PurePosixPath | None:
    path = PurePosixPath(member.name)
    if not member.isreg() or ".." in path.parts or not path.is_relative_to(_PREFIX):
        return None
    inside = path.relative_to(_PREFIX)
    if inside.name == ".git":  # a stub, which makes a build start over and over
        return None
    return inside if any(inside.is_relative_to(name) for name in wanted) else None


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a kernel lock of a folder, so that two at once do the work once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise pillm.StorageError(f"the cache folder {folder} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
