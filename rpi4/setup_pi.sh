#!/bin/sh
# Build llama.cpp on this board, in the version that pillm makes and scores its files with, and try it.
#
#   setup_pi.sh [--dry-run] [--source FILE] [--prefix DIR] [--with-blas] [--jobs N] [--no-packages]
#
#   --dry-run       print every step and change nothing
#   --source FILE   use this archive instead of downloading it (llama_cpp_python-0.3.36.tar.gz, for a board without network)
#   --url URL       download the archive from here, not by pip; whatever comes must have the pinned sha256
#   --prefix DIR    where the programs go (~/.local/share/pillm/llama.cpp); PILLM_LLAMACPP tells the other scripts
#   --with-blas     with OpenBLAS: prefill from 15 % slower to 20 % faster on a Pi 4, slower on a Pi 5
#   --jobs N        files compiled at once; by default what the memory allows
#   --no-packages   install no packages; stop where one is missing
#
# What it downloads: the packages that are missing, by apt, and one archive of 77 MB, whose sha256 is checked before it is
# opened. Nothing from the network is run unseen. Run again, it finds everything in place and only tries the programs.
set -eu
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$(dirname -- "$0")/steps.sh"
# shellcheck source-path=SCRIPTDIR source=pinned.sh
. "$(dirname -- "$0")/pinned.sh"

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
PROGRAMS='llama-completion llama-bench llama-server llama-embedding'
NEEDED_BYTES=1200000000
MIB_PER_JOB=900 # what compiling the server's largest file takes
LEAST_MIB=900

SOURCE='' JOBS='' WITH_BLAS='' NO_PACKAGES=''
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -eq 0 ] || wrong "$1"
BLAS=OFF
[ -z "$WITH_BLAS" ] || BLAS=ON
WORK=$PREFIX/.work # what is interrupted goes on from here; also for the compiler's files, since /tmp is small on many boards
ARCHIVE=$WORK/llama_cpp_python-$VERSION.tar.gz
SWITCHES="CMAKE_BUILD_TYPE=Release BUILD_SHARED_LIBS=OFF LLAMA_BUILD_COMMIT=$COMMIT LLAMA_BUILD_TESTS=OFF LLAMA_OPENSSL=OFF"
SWITCHES="$SWITCHES LLAMA_USE_PREBUILT_UI=OFF LLAMA_BUILD_EXAMPLES=ON GGML_NATIVE=ON GGML_BLAS=$BLAS"
[ $BLAS = OFF ] || SWITCHES="$SWITCHES GGML_BLAS_VENDOR=OpenBLAS"
MADE_OF="llama.cpp $COMMIT sha256 $SHA256 switches $SWITCHES"

check_board() {
    machine=$(uname -m)
    bits=$(getconf LONG_BIT)
    case $machine,$bits in
    aarch64,64) ;;
    aarch64,* | arm*) stop 2 "this is a 32-bit system ($machine, $bits bit). llama.cpp needs 64-bit Raspberry Pi OS." ;;
    *) stop 2 "this is a $machine machine, not a 64-bit Arm board. On a computer: pillm-llamacpp build" ;;
    esac
    ram=$(memory_mib)
    [ "$ram" -ge $LEAST_MIB ] || stop 2 "this board has $ram MiB of memory; compiling llama.cpp takes $LEAST_MIB. Build for it elsewhere: pillm-llamacpp build --target pi4"
    if [ -z "$JOBS" ]; then
        JOBS=$((ram / MIB_PER_JOB))
        [ "$JOBS" -le "$(cores)" ] || JOBS=$(cores)
    fi
    say "$(tr -d '\0' <"$ROOT/proc/device-tree/model" 2>/dev/null || echo "$machine board"), $ram MiB of memory, compiling $JOBS files at once"
    check_swap "$ram"
}

check_swap() {
    if [ -e "$ROOT/etc/rpi/swap.conf" ] || installed rpi-swap; then
        say 'rpi-swap looks after the swap of this system; it is left alone'
    elif [ "$1" -lt 3000 ] && ! grep -q '^/' "$ROOT/proc/swaps" 2>/dev/null; then
        say 'there is no swap, so a build or a large file may be killed. Nothing was changed; this would add some: sudo apt-get install rpi-swap (Raspberry Pi OS) or zram-tools (Debian)'
    fi
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

lacks() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}

check_packages() {
    missing=
    lacks cmake cmake
    lacks c++ g++
    lacks ninja ninja-build
    [ -n "$SOURCE" ] || [ -f "$ARCHIVE" ] || if [ -n "$URL" ]; then lacks curl curl; else lacks pip3 python3-pip; fi
    [ $BLAS = OFF ] || installed libopenblas-dev || missing="$missing libopenblas-dev pkg-config"
    [ -n "$missing" ] || return 0
    [ -z "$NO_PACKAGES" ] || stop 4 "missing:$missing. Get them with: sudo apt-get install$missing"
    root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || stop 4 "missing:$missing, and there is no sudo. As root: apt-get install$missing"
        root=sudo
    fi
    step $root apt-get update
    # shellcheck disable=SC2086 # one word each
    step $root apt-get install -y --no-install-recommends $missing
}

compile() {
    room "$PREFIX" $NEEDED_BYTES 'a build'
    step mkdir -p "$WORK/tmp" "$PREFIX/bin"
    get_source
    if [ ! -d "$WORK/llama.cpp" ]; then
        unpack_source "$WORK/llama.cpp"
    fi
    defined=
    for switch in $SWITCHES; do
        defined="$defined -D$switch"
    done
    # shellcheck disable=SC2086 # one word each
    step cmake -S "$WORK/llama.cpp" -B "$WORK/build" -G Ninja $defined || stop 1 'cmake failed; nothing was put in place.'
    # shellcheck disable=SC2086
    step cmake --build "$WORK/build" --target $PROGRAMS -j "$JOBS" || stop 1 'the compiler failed; nothing was put in place. The same command goes on where it was.'
    for one in $PROGRAMS; do
        step install -m 755 "$WORK/build/bin/$one" "$PREFIX/bin/.$one.part"
        step mv -f "$PREFIX/bin/.$one.part" "$PREFIX/bin/$one"
    done
    step record
    step rm -rf "$WORK"
}

# written last: without it nothing was built
record() {
    # shellcheck disable=SC2086
    (cd "$PREFIX/bin" && sha256sum $PROGRAMS) >"$PREFIX/SHA256SUMS.part"
    printf '%s\n' "$MADE_OF" >"$PREFIX/made-of.part"
    mv -f "$PREFIX/SHA256SUMS.part" "$PREFIX/SHA256SUMS"
    mv -f "$PREFIX/made-of.part" "$PREFIX/made-of"
}

stands() {
    [ "$(cat "$PREFIX/made-of" 2>/dev/null)" = "$MADE_OF" ] && (cd "$PREFIX/bin" && sha256sum --status -c ../SHA256SUMS 2>/dev/null)
}

self_test() {
    expected=$(cat "$HERE/selftest/expected.txt")
    tokens=32
    set -- "$PREFIX/bin/llama-completion" --model "$HERE/selftest/tiny.gguf" --binary-file "$HERE/selftest/prompt.txt" \
        --predict $tokens --ctx-size 256 --temp 0 --threads 1 --no-conversation --no-display-prompt --no-escape --no-warmup --offline
    if [ -n "$DRY_RUN" ]; then
        step "$@"
        say "its answer must be: $expected"
        return 0
    fi
    answered "$@"
    [ "$ANSWER" = "$expected" ] || stop 1 "the self-test failed: the programs compute wrongly on this board. Expected '$expected', and they said '$ANSWER'."
    say "self-test passed: $tokens tokens as expected"
}

# all of it is read before any of it is done: a copy that changes meanwhile does no harm
main() {
    check_board
    if stands; then
        say "llama.cpp $COMMIT is in place in $PREFIX: nothing to build"
    else
        check_packages
        export TMPDIR="$WORK/tmp"
        compile
    fi
    self_test
    if [ -n "$DRY_RUN" ]; then
        say 'nothing was changed'
    else
        [ "$PREFIX" = "$USUAL_PREFIX" ] || say "the other scripts find the programs once they are told: export PILLM_LLAMACPP=$(quoted "$PREFIX")"
        say 'done. Next: get_model.sh, or copy a file of your own; then run_decoder.sh FILE.gguf'
    fi
}

main
