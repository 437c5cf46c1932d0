#!/bin/sh
# Get a model file, whole and checked, or not at all.
#
#   get_model.sh [--dry-run] [--sha256 HEX] [--out DIR] NAME|URL
#
#   NAME            tinyllama (669 MB) or qwen2.5-0.5b (491 MB), in Q4_K_M: something to begin with. Revision and sha256 are pinned
#   URL             a .gguf file anywhere
#   --sha256 HEX    what it must be; without it, what it was the first time (FILE.gguf.sha256 in the folder), else what the hub says
#                   of the file (header X-Linked-ETag) before it is sent
#   --out DIR       folder for the file (~/.local/share/pillm/models)
#   --dry-run       ask for size and sha256, print every step and change nothing
#
# An interrupted download goes on where it was. A file that is there already is checked and not downloaded again.
# The sha256 that came is printed and kept beside the file, and another one is refused from then on. The first time, one that comes
# from where the file comes from finds a broken transfer; against a hub that lies it takes one of your own.
set -eu
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$(dirname -- "$0")/steps.sh"

HUB=${HF_ENDPOINT:-https://huggingface.co}
OUT=${XDG_DATA_HOME:-$HOME/.local/share}/pillm/models
SHA256='' PINNED=''
parse "$@"
eval "set -- $WORDS" && shift "$READ"
WHAT=${1-}
[ $# -le 1 ] || wrong "$2"
case $WHAT in
'') stop 2 "name a model: tinyllama, qwen2.5-0.5b or a URL. See: $SELF --help" ;;
tinyllama)
    URL=$HUB/TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF/resolve/52e7645ba7c309695bec7ac98f4f005b139cf465/tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf
    PINNED=9fecc3b3cd76bba89d504f29b616eedf7da85b96540e490ca5824d3f7d2776a0
    ;;
qwen2.5-0.5b)
    URL=$HUB/Qwen/Qwen2.5-0.5B-Instruct-GGUF/resolve/9217f5db79a29953eb74d5343926648285ec7e67/qwen2.5-0.5b-instruct-q4_k_m.gguf
    PINNED=74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db
    ;;
https://* | http://127.0.0.1:* | http://localhost:*) URL=$WHAT ;;
http://*) stop 6 'a model is only fetched over https.' ;;
*) stop 2 "'$WHAT' is no name and no URL. Known: tinyllama, qwen2.5-0.5b." ;;
esac

# is_sha256 TEXT: whether it is 64 hexadecimal digits
is_sha256() {
    case $1 in *[!0-9a-f]*) return 1 ;; esac
    [ ${#1} -eq 64 ]
}

FILE=$(basename -- "${URL%%\?*}")
case $FILE in
.* | *[!A-Za-z0-9._-]* | '') stop 6 "'$FILE' is no name for a file." ;;
*.gguf) ;;
*) stop 2 "$URL is no .gguf file." ;;
esac
SHA256=$(printf '%s' "$SHA256" | tr 'A-F' 'a-f')
[ -z "$SHA256" ] || is_sha256 "$SHA256" || stop 2 '--sha256 needs 64 hexadecimal digits.'
TARGET=$OUT/$FILE
SUM=$TARGET.sha256

# header NAME: the value of one of the headers that the server answered with
header() {
    printf '%s\n' "$HEADERS" | tr -d '\r"' | awk -F': *' -v name="$1" 'tolower($1) == name { found = $2 } END { print found }'
}

# what the file must be: what was asked for, else what is pinned, else what it was when it first came
first=$(cut -d ' ' -f 1 -- "$SUM" 2>/dev/null || true)
is_sha256 "$first" || first=''
known=${SHA256:-${PINNED:-$first}}
SHA256=$known
if [ -f "$TARGET" ] && [ -n "$known" ]; then
    [ "$(sha256_of "$TARGET")" = "$known" ] || stop 6 "$TARGET is there and is not what it should be (sha256 $known). It was left alone; move it away to get it anew."
    say "$TARGET is there and whole"
    printf '%s\n' "$TARGET"
    exit 0
fi
[ ! -e "$TARGET" ] || stop 2 "$TARGET is there, and nobody says what it should be. Give --sha256, or move it away."

command -v curl >/dev/null 2>&1 || stop 4 'curl is not installed. Get it with: sudo apt-get install curl'
for turn in 1 2 3; do
    HEADERS=$(curl --silent --show-error --head "$URL") || stop 5 "$URL cannot be reached. Nothing was changed."
    onward=$(header location)
    # a model that was renamed; where the file itself lies elsewhere, what it must be is said before
    case $turn$onward in
    [12]/*) URL=$(printf '%s' "$URL" | cut -d / -f 1-3)$onward ;;
    *) break ;;
    esac
done
LENGTH=''
case $(printf '%s\n' "$HEADERS" | head -n 1) in
*' 200'*) LENGTH=$(header content-length) ;;
*' 30'*) ;;
*' 401'* | *' 403'*) stop 5 "$URL asks for a login. Download it with a browser, and check its sha256." ;;
*' 404'*) stop 2 "there is no $URL." ;;
*) stop 5 "$URL answered: $(printf '%s\n' "$HEADERS" | head -n 1)" ;;
esac
told=$(header x-linked-etag)
if is_sha256 "$told" && [ -n "$SHA256" ] && [ "$told" != "$SHA256" ]; then
    stop 6 "$URL is another file now: the hub says sha256 $told, and it must be $SHA256. Nothing was downloaded. Where you want the new one: --sha256 $told"
fi
if [ -z "$SHA256" ]; then
    SHA256=$told
    is_sha256 "$SHA256" || stop 6 "$URL does not say the sha256 of the file, so what comes could not be checked. Give it with --sha256."
fi
SIZE=$(header x-linked-size)
[ -n "$SIZE" ] || SIZE=$LENGTH
case $SIZE in *[!0-9]*) SIZE= ;; esac

PART=$OUT/.$FILE.$(printf '%s' "$SHA256" | cut -c 1-16).part # of this very file: a part of another is not gone on with
have=0
[ ! -f "$PART" ] || have=$(bytes_of "$PART")
if [ -n "$SIZE" ] && [ "$have" -gt "$SIZE" ]; then
    step rm -f "$PART" && have=0
fi
[ -z "$SIZE" ] || room "$OUT" $((SIZE - have + 50000000)) "$FILE"
say "$FILE: ${SIZE:-unknown} bytes, $have of them here, sha256 $SHA256"
step mkdir -p "$OUT"
# a part that is whole already has nothing left to ask for, which servers refuse
if [ "$have" -eq 0 ] || [ "$(sha256_of "$PART")" != "$SHA256" ]; then
    code=0
    case $URL in https:*) onward=https ;; *) onward=http,https ;; esac
    step curl --fail --location --proto-redir "=$onward" --retry 3 --continue-at - --output "$PART" "$URL" || code=$?
    if [ $code -eq 33 ]; then # the server knows no ranges
        step rm -f "$PART"
        code=0
        step curl --fail --location --proto-redir "=$onward" --retry 3 --output "$PART" "$URL" || code=$?
    fi
    [ $code -eq 0 ] || stop 5 "the download broke off (curl: $code); what came is kept, and the same command goes on where it was."
fi
if [ -z "$DRY_RUN" ]; then
    found=$(sha256_of "$PART")
    if [ "$found" != "$SHA256" ]; then
        rm -f "$PART"
        stop 6 "what came has sha256 $found, not $SHA256. It was removed; the same command begins anew."
    fi
    sync
fi
step mv -f "$PART" "$TARGET"
if [ -z "$DRY_RUN" ]; then
    printf '%s  %s\n' "$SHA256" "$FILE" >"$SUM"
    say "sha256 $SHA256, kept in $SUM; the next one must be the same"
    printf '%s\n' "$TARGET"
else
    say 'nothing was changed'
fi
