# shellcheck shell=sh
# What the scripts of this folder share; sourced by them, not run.
# Exit codes are pillm's: 0 done, 1 failed, 2 wrong command line, 4 something is missing, 5 network, 6 refused as unsafe.

SELF=$(basename -- "$0")
NAME=${SELF%.sh}
ROOT=${PILLM_ROOT:-} # what /proc, /sys and /etc are read below: a recorded board, in tests
USUAL_PREFIX=${XDG_DATA_HOME:-${HOME-}/.local/share}/pillm/llama.cpp
PREFIX=${PILLM_LLAMACPP:-$USUAL_PREFIX}
export GGML_NO_BACKTRACE=1 # a program that gives up would start a debugger on itself, where one is installed
DRY_RUN=
LINE_END='
'
NO_GRAMMAR=65 # a status with which llama.cpp's programs do not end: they crash then, or answer as they like

say() {
    printf '%s: %s\n' "$NAME" "$*" >&2
}

# stop CODE WORDS: say why, and end
stop() {
    code=$1
    shift
    say "$*"
    exit "$code"
}

# step COMMAND ...: show a command, and run it unless nothing shall be done
step() {
    line=
    for word; do
        line="$line $(quoted "$word")"
    done
    printf '+%s\n' "$line" >&2
    if [ -z "$DRY_RUN" ]; then
        "$@"
    fi
}

quoted() {
    case $1 in
    '' | *[!A-Za-z0-9_./:=,+@%-]*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
    *) printf '%s' "$1" ;;
    esac
}

# usage: print the comment that a script begins with
usage() {
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0" | sed '/^shellcheck /d'
}

# parse WORD ...: read the options that the script's first comment lists, wherever they stand. Each sets a variable, which must
# have a value before: --key-file F sets KEY_FILE, and --dry-run, which takes no value, DRY_RUN to yes. N is a number from 1 on,
# LIST are several. The words of the command line are then `eval "set -- $WORDS" && shift "$READ"`. Letters are those of C: in Turkish
# the range A-Z has no I.
parse() {
    kinds=$(usage | LC_ALL=C sed -n -E 's/^  --([a-z0-9-]+)( ([A-Z]+))?  .*/\1 \3/p')
    long=$(printf '%s\n' "$kinds" | LC_ALL=C sed -E 's/ [A-Z]+$/:/; s/ $//' | tr '\n' ,)
    WORDS=$(LC_ALL=C getopt --name "$NAME" --shell sh --options h --longoptions "${long}help" -- "$@") ||
        stop 2 "see $SELF --help. A word that begins with a hyphen and is no option goes after --"
    eval "set -- $WORDS"
    READ=$#
    while [ "$1" != -- ]; do
        case $1 in -h | --help) usage && exit 0 ;; esac
        kind=$(printf '%s\n' "$kinds" | sed -n "s/^${1#--} //p")
        case $kind in
        N) number "$1" "$2" 1 ;;
        LIST) number "$1" "$(printf '%s' "$2" | tr -d , | cut -c 1-9)" ;;
        esac
        variable=$(printf '%s' "${1#--}" | LC_ALL=C tr a-z- A-Z_)
        if [ -n "$kind" ]; then
            eval "$variable=\$2"
            shift
        else
            eval "$variable=yes"
        fi
        shift
    done
    shift
    READ=$((READ - $#))
}

wrong() {
    stop 2 "$1 is not understood. See: $SELF --help"
}

# number NAME VALUE [LEAST [MOST]]: a number, or the end
number() {
    case $2 in
    '' | *[!0-9]*) stop 2 "$1 needs a whole number, not '$2'." ;;
    ???????????*) stop 2 "$1 is too large: $2." ;;
    esac
    [ "$2" -ge "${3:-0}" ] || stop 2 "$1 needs a whole number from ${3:-0} on, not '$2'."
    [ "$2" -le "${4:-$2}" ] || stop 2 "$1 needs a whole number up to $4, not '$2'."
}

sha256_of() {
    sha256sum <"$1" | cut -d ' ' -f 1
}

bytes_of() {
    wc -c <"$1" | tr -d ' '
}

# room DIRECTORY BYTES WHAT: stop where a disk has no room; the folder need not be there yet
room() {
    at=$1
    while [ ! -d "$at" ]; do
        at=$(dirname -- "$at")
    done
    free=$(df -Pk -- "$at" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge $(($2 / 1024)) ] || stop 1 "$3 needs $(($2 / 1000000)) MB, and $at has $((free / 1000)) MB free. Nothing was changed."
}

# program NAME: where one of llama.cpp's programs is
program() {
    for at in "$PREFIX/bin" "$ROOT/usr/lib/pillm/llamacpp"; do # built here, or from the package pillm-llamacpp
        if [ -x "$at/$1" ]; then
            printf '%s' "$at/$1"
            return 0
        fi
    done
    command -v "$1" || stop 4 "$1 is not installed here. Build it with: setup_pi.sh; or install the package pillm-llamacpp"
}

# hushed COMMAND ...: run a program without what it says meanwhile; where it fails, the end of that is shown. llama.cpp's programs
# may be gone before the thread that writes has said why: one that failed without a word is asked again.
hushed() {
    for _ in 1 2 3 4; do
        failed=0
        { said=$("$@" 2>&1 >&3 3>&- </dev/null) || failed=$?; } 3>&1
        [ "$failed$said" = 1 ] || break
    done
    [ "$failed" -eq 0 ] || printf '%s\n' "$said" | tail -n 15 >&2
    case $failed$said in
    134*'failed to parse grammar'*) failed=$NO_GRAMMAR ;;
    0*'schema conversion was incomplete'*) # it would answer all the same
        printf '%s\n' "$said" | grep -F 'schema conversion was incomplete' >&2
        failed=$NO_GRAMMAR
        ;;
    esac
    return "$failed"
}

# answered COMMAND ...: let llama-completion answer; ANSWER is what it wrote. It may be gone before its last words are written, as
# above, with exit code 0: two line ends close what is whole.
answered() {
    for _ in 1 2 3 4 5 6 7 8; do
        code=0
        ANSWER=$(hushed "$@" && echo .) || code=$?
        ended $code llama-completion
        case $ANSWER in
        *"$LINE_END$LINE_END.")
            ANSWER=${ANSWER%"$LINE_END$LINE_END."}
            return 0
            ;;
        esac
    done
    stop 1 'llama-completion ended eight times before its answer was written. Run the same command again.'
}

# takes PROGRAM: ask a program which flags it knows; releases of llama.cpp rename theirs. It begins a COMMAND.
takes() {
    code=0
    KNOWN=$(hushed "$1" --help) || code=$?
    ended $code "$(basename -- "$1")"
    KNOWN=" $(printf '%s\n' "$KNOWN" | LC_ALL=C grep -E '^ *-' | LC_ALL=C grep -oE -e '(^|[ ,|])--?[A-Za-z][A-Za-z0-9-]*' | tr -d ' ,|' | tr '\n' ' ') "
    EXE=$1
    COMMAND=\"\$EXE\"
}

# flag NAME ...: the first of these names that the program knows
flag() {
    for one; do
        case $KNOWN in
        *" $one "*)
            printf '%s' "$one"
            return 0
            ;;
        esac
    done
    return 1
}

# give 'NAME ...' [VARIABLE|=WORD]: put a flag on the COMMAND, with the value of a variable, or a plain word; stop where the program
# has none of these names, since without it it would do something else. The words are then: eval "set -- $COMMAND"
give() {
    # shellcheck disable=SC2086 # one name each
    name=$(flag $1) || stop 4 "$EXE does not know $1. Build one that does: setup_pi.sh; or install the package pillm-llamacpp"
    case ${2-} in
    '') COMMAND="$COMMAND $name" ;;
    =*) COMMAND="$COMMAND $name ${2#=}" ;;
    *) COMMAND="$COMMAND $name \"\$$2\"" ;;
    esac
}

# spare 'NAME ...' [VARIABLE|=WORD]: as give, for what may be left out
spare() {
    # shellcheck disable=SC2086
    ! flag $1 >/dev/null || give "$@"
}

# ended CODE PROGRAM: say why a program ended
ended() {
    case $1 in
    0) ;;
    "$NO_GRAMMAR") stop 2 'answers cannot be held to that grammar or schema; what is wrong with it is said above.' ;;
    132) stop 1 "$2 was built for another CPU (illegal instruction). Build it on this board: setup_pi.sh" ;;
    137) stop 1 "$2 was killed, most often because memory ran out. A smaller file or --context needs less." ;;
    134 | 139) stop 1 "$2 crashed (status $1)." ;;
    *) stop 1 "$2 failed with status $1." ;;
    esac
}

# unheard: forget what the environment would tell llama.cpp's programs on top, unseen
unheard() {
    for name in $(env | LC_ALL=C sed -n 's/^\(LLAMA_[A-Z0-9_]*\)=.*/\1/p'); do
        unset "$name"
    done
}

cores() {
    nproc 2>/dev/null || echo 4
}

memory_mib() {
    awk '/^MemTotal:/ { print int($2 / 1024) }' "$ROOT/proc/meminfo"
}
