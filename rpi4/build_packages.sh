#!/bin/sh
# Build the Debian packages pillm-llamacpp (64-bit Arm) and pillm-serve from the pinned source, on a computer or on a board.
#
#   build_packages.sh [--dry-run] [--source FILE] [--work DIR] [--out DIR] [--jobs N]
#
#   --dry-run       print every step and change nothing
#   --source FILE   use this archive instead of downloading it (llama_cpp_python-0.3.36.tar.gz)
#   --url URL       download the archive from here, not by pip; whatever comes must have the pinned sha256
#   --work DIR      where it compiles, kept so that the next build is short (~/.cache/pillm/packages)
#   --out DIR       where the packages go (here)
#   --jobs N        files compiled at once (all cores)
#
# The same source gives the same bytes, whatever the folder, the user and the day. Nothing is installed and no root is needed.
set -eu
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$(dirname -- "$0")/steps.sh"
# shellcheck source-path=SCRIPTDIR source=pinned.sh
. "$(dirname -- "$0")/pinned.sh"

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
NEEDED_BYTES=1200000000
SOURCE='' WORK=${XDG_CACHE_HOME:-$HOME/.cache}/pillm/packages OUT=. JOBS=$(cores)
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -eq 0 ] || wrong "$1"
case $WORK in *[!A-Za-z0-9._/+-]*) stop 2 "--work needs a path of letters, digits and . _ / + -, since compiler flags hold it, not '$WORK'." ;; esac
ARCHIVE=$WORK/llama_cpp_python-$VERSION.tar.gz
RELEASE=$(sed -n '1s/.*(\(.*\)).*/\1/p' "$HERE/debian/changelog")
TREE=$WORK/pillm-$RELEASE

# lacks COMMAND PACKAGE: note a package that is missing
lacks() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

check_tools() {
    missing=
    lacks cmake cmake
    lacks ninja ninja-build
    lacks dh debhelper
    lacks dpkg-buildpackage dpkg-dev
    lacks patch patch
    [ -n "$SOURCE" ] || [ -f "$ARCHIVE" ] || if [ -n "$URL" ]; then lacks curl curl; else lacks pip3 python3-pip; fi
    if [ "$(uname -m)" = aarch64 ]; then
        lacks g++ g++
    else
        lacks aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
    fi
    [ -z "$missing" ] || stop 4 "missing:$missing. Get them with: sudo apt-get install$missing"
}

# the tree that is compiled: llama.cpp patched, once for each set of patches; scripts and packaging new each time
make_tree() {
    patches=$(cat "$HERE"/debian/patches/*.patch | sha256sum | cut -c 1-16)
    if [ "$(cat "$TREE/.made-of" 2>/dev/null)" != "$SHA256 $patches" ]; then
        step rm -rf "$TREE"
        step mkdir -p "$TREE"
        get_source
        unpack_source "$TREE/llama.cpp"
        while read -r name; do
            step patch -d "$TREE" -p1 -s -i "$HERE/debian/patches/$name"
        done <"$HERE/debian/patches/series"
        step mark "$SHA256 $patches"
    fi
    step rm -rf "$TREE/debian" "$TREE/rpi4"
    step cp -R "$HERE/debian" "$TREE/debian"
    step cp -R "$HERE" "$TREE/rpi4"
    step rm -rf "$TREE/rpi4/debian"
}

mark() {
    printf '%s\n' "$1" >"$TREE/.made-of"
}

build() {
    (
        cd "$TREE"
        umask 022
        export LC_ALL=C.UTF-8 TZ=UTC
        # -nc: what was compiled stays; -d: what a cross build needs was looked for above, by command
        DEB_BUILD_OPTIONS="parallel=$JOBS noautodbgsym" dpkg-buildpackage --build=binary --host-arch=arm64 --no-sign -d -nc
    )
}

# all of it is read before any of it is done: a copy that changes meanwhile does no harm
main() {
    check_tools
    room "$WORK" $NEEDED_BYTES 'a build'
    step mkdir -p "$WORK" "$OUT"
    make_tree
    step build >&2 || stop 1 'the build failed; no package was put in place. The same command goes on where it was.'
    for package in "pillm-llamacpp_${RELEASE}_arm64.deb" "pillm-serve_${RELEASE}_all.deb"; do
        step cp "$WORK/$package" "$OUT/.$package.part"
        step mv -f "$OUT/.$package.part" "$OUT/$package"
        if [ -n "$DRY_RUN" ]; then
            continue
        fi
        printf '%s  %s\n' "$(sha256_of "$OUT/$package")" "$OUT/$package"
    done
}

main
