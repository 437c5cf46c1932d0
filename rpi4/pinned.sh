# shellcheck shell=sh disable=SC2034
# The llama.cpp source that pillm makes and scores its files with; sourced by the scripts that compile it, not run.
# It uses steps.sh. A script sets SOURCE (an archive at hand, or nothing), ARCHIVE (where a downloaded one is kept) and URL
# (where to download it from; nothing: pip finds it).

VERSION=0.3.36
COMMIT=0c1e57098
SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
URL=''

get_source() {
    [ -n "$SOURCE" ] || SOURCE=$ARCHIVE
    if [ "$SOURCE" = "$ARCHIVE" ] && [ ! -f "$ARCHIVE" ]; then
        if [ ! -f "$ARCHIVE.part" ] || [ "$(sha256_of "$ARCHIVE.part")" != $SHA256 ]; then
            say 'downloading the source, 77 MB'
            download
        fi
        [ -n "$DRY_RUN" ] || checked "$ARCHIVE.part"
        step mv -f "$ARCHIVE.part" "$ARCHIVE"
    elif [ -f "$SOURCE" ]; then
        checked "$SOURCE"
    else
        stop 2 "there is no file $SOURCE."
    fi
}

# download: the archive to $ARCHIVE.part, from the place that was named, else by pip. pip would run the archive's build tool, and
# download that one unpinned, only to read the archive's name: the stand-in tells it. pip holds the sha256 against the file before
# it looks into it, so nothing that comes from the network is run.
download() {
    if [ -n "$URL" ]; then
        step curl --fail --location --retry 3 --continue-at - --output "$ARCHIVE.part" "$URL" ||
            stop 5 "the source could not be downloaded from $URL; what came is kept, and the same command goes on. Without a network: --source FILE"
        return
    fi
    step stand_in "$ARCHIVE.pip/tool/scikit_build_core"
    printf 'llama-cpp-python==%s --hash=sha256:%s\n' $VERSION $SHA256 |
        step env "PYTHONPATH=$ARCHIVE.pip/tool" pip3 download --quiet --no-deps --no-binary :all: --no-build-isolation --require-hashes \
            --dest "$ARCHIVE.pip" --requirement /dev/stdin ||
        stop 5 'the source could not be downloaded by pip; nothing was changed. From another place: --url URL. Without a network: --source FILE'
    step mv -f "$ARCHIVE.pip/llama_cpp_python-$VERSION.tar.gz" "$ARCHIVE.part"
    step rm -rf "$ARCHIVE.pip"
}

# stand_in DIR: a build tool that builds nothing, and only says which release the archive is
stand_in() {
    mkdir -p "$1"
    : >"$1/__init__.py"
    cat >"$1/build.py" <<END
import os


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "llama_cpp_python-$VERSION.dist-info"
    os.mkdir(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: llama_cpp_python\\nVersion: $VERSION\\n")
    return name
END
}

# checked FILE: stop where an archive is not the pinned one; one that was downloaded is removed
checked() {
    found=$(sha256_of "$1")
    [ "$found" = $SHA256 ] && return 0
    case $DRY_RUN$1 in "$(dirname -- "$ARCHIVE")"/*) rm -f -- "$1" ;; esac
    stop 6 "$1 has sha256 $found, not the pinned $SHA256. It was not opened."
}

# unpack_source DIR: the tree, whole or not at all
unpack_source() {
    step rm -rf "$1.part"
    step mkdir "$1.part"
    # its .git is a stub, which makes a build start over and over
    step tar -xzf "$SOURCE" -C "$1.part" --strip-components=3 --exclude='*/vendor/llama.cpp/.git' "llama_cpp_python-$VERSION/vendor/llama.cpp"
    step mv "$1.part" "$1"
}
