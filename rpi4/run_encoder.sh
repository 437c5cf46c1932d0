#!/bin/sh
# Embed texts with a model file: one line of numbers, a vector of length 1, for each text.
#
#   run_encoder.sh [options] FILE.gguf TEXT
#   run_encoder.sh [options] FILE.gguf <texts.txt     one text a line; none may be empty
#
#   --pooling KIND  mean, cls or last; by default what the file says, else mean
#   --context N     tokens of the longest text (512); no more than the model takes
#   --threads N     cores to compute with (all)
#   --json          one JSON document, as OpenAI's servers answer, instead of lines
#   --dry-run       print the command and change nothing
#
# A llama-server embeds them, on a socket that only you can open, and ends with the last text. PILLM_LLAMACPP names the folder of
# setup_pi.sh --prefix.
set -eu
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$(dirname -- "$0")/steps.sh"
# shellcheck source-path=SCRIPTDIR source=header.sh
. "$(dirname -- "$0")/header.sh"

TOGETHER=32 # texts that are asked for at once
SERVER='' WORK='' DONE=0

# shellcheck disable=SC2034 # what `give` is told by name
POOLING='' CONTEXT=512 THREADS=$(cores) JSON=''
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -gt 0 ] || stop 2 "name a .gguf file. See: $SELF --help"
MODEL=$1
[ $# -le 2 ] || stop 2 'quote the text: it is one word of the command line.'
model "$MODEL"
case $POOLING in '' | mean | cls | last) ;; *) stop 2 "--pooling knows mean, cls and last, which make one vector of a text, not '$POOLING'." ;; esac

# what the file says, where the command line does not
choose() {
    arch=$(fact "$MODEL" general.architecture)
    case $POOLING,$(fact "$MODEL" "$arch.pooling_type") in
    ,2) POOLING=cls ;;
    ,3) POOLING=last ;;
    ,4) stop 2 "$MODEL ranks texts and makes no vectors of them. To make some all the same: --pooling KIND" ;;
    ,*) POOLING=mean ;;
    esac
    most=$(fact "$MODEL" "$arch.context_length")
    [ "${most:-$CONTEXT}" -ge "$CONTEXT" ] || CONTEXT=$most
}

command_line() {
    exe=$(program llama-server) || exit $?
    takes "$exe"
    give --model MODEL
    give '--embeddings --embedding'
    give --pooling POOLING
    # a text is computed in one piece
    for name in --ctx-size --batch-size --ubatch-size; do give $name CONTEXT; done
    give --threads THREADS
    give --parallel =1
    for name in --cache-ram --ctx-checkpoints; do spare $name =0; done
    give --host =embed.sock
    for name in '--no-ui --no-webui' --no-slots --no-warmup --offline; do spare "$name"; done
}

# strings: each line of the input as a JSON string
strings() {
    LC_ALL=C awk '
        BEGIN { for (code = 1; code < 32; code++) escaped[sprintf("%c", code)] = sprintf("\\u%04x", code) }
        {
            sub(/\r$/, "")
            gsub(/["\\]/, "\\\\&")
            if ($0 ~ /[\001-\037]/) for (letter in escaped) gsub(letter, "\\" escaped[letter])
            printf "\"%s\"\n", $0
        }'
}

# shellcheck disable=SC2120 # its own words
# begin: the folder, the texts in groups, and a server that has read the model
begin() {
    command -v curl >/dev/null 2>&1 || stop 4 'curl is not installed. Get it with: sudo apt-get install curl'
    home=${XDG_CACHE_HOME:-$HOME/.cache}/pillm
    mkdir -p -- "$home"
    find "$home" -maxdepth 1 -name 'embed.*' -mmin +1440 -exec rm -rf {} + # of a run that was killed outright
    WORK=$(mktemp -d "$home/embed.XXXXXX")
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    MODEL=$(readlink -f -- "$MODEL")
    if [ -n "$TEXT" ]; then
        printf '%s' "$TEXT" | strings | sed ':all; $!{N; b all}; s/"\n"/\\n/g' >"$WORK/texts"
    else
        cat >"$WORK/lines"
        [ -s "$WORK/lines" ] || stop 2 'there is no text to embed.'
        empty=$(LC_ALL=C grep -n -m 1 -v '[^[:space:]]' "$WORK/lines" | cut -d : -f 1)
        [ -z "$empty" ] || stop 2 "line $empty is empty, and an empty text has no vector. Leave it out."
        strings <"$WORK/lines" >"$WORK/texts"
    fi
    cd -- "$WORK" # a socket's path may not be long
    split -l $TOGETHER -a 6 texts part.
    unheard
    eval "set -- $COMMAND"
    for _ in 1 2 3 4; do # as `hushed` does
        code=0
        wait_for "$@" || code=$?
        [ "$code" = 1 ] && [ ! -s log ] && continue
        break
    done
    [ "$code" -eq 0 ] || gone "$code"
}

# wait_for COMMAND ...: start a server, which ends with this script, and wait until it answers
wait_for() {
    ! command -v setpriv >/dev/null 2>&1 || set -- setpriv --pdeathsig KILL "$@"
    "$@" >log 2>&1 </dev/null &
    SERVER=$!
    until curl --silent --fail --output reply --unix-socket embed.sock http://localhost/health; do
        if ! kill -0 "$SERVER" 2>/dev/null; then
            wait "$SERVER" || return $?
            return 1
        fi
        sleep 0.1
    done
}

leave() {
    [ -z "$SERVER" ] || kill "$SERVER" 2>/dev/null || true
    [ -z "$SERVER" ] || wait "$SERVER" 2>/dev/null || true
    rm -rf -- "$WORK"
}

# gone CODE: say why the server ended
gone() {
    tail -n 15 log >&2
    ended "$1" llama-server
    stop 1 'llama-server ended before its work was done. Run the same command again.'
}

# vectors PART: a line of numbers for each text of a part, with its vector held against the ones before
vectors() {
    { printf '{"encoding_format":"float","input":[' && paste -s -d , -- "$1" && printf ']}'; } >body
    status=$(curl --silent --output reply --write-out '%{http_code}' --unix-socket embed.sock --data-binary @body http://localhost/v1/embeddings) ||
        { code=0 && { wait "$SERVER" || code=$?; } && gone "$code"; }
    count=$(wc -l <"$1")
    if [ "$status" = 200 ]; then
        tr -d '\n ' <reply | sed 's/"embedding":\[/\n/g' | sed '1d; s/\].*//; s/,/ /g' >rows
        echo >>rows
        sed -i '/^$/d' rows
        awk -v texts="$count" -v width="${WIDTH:-0}" '!width { width = NF } NF != width { exit 1 } END { if (NR != texts || !width) exit 1 }' rows ||
            stop 1 "llama-server gave something else than a vector for each text, from text $((DONE + 1)) on. The lines before are whole."
        [ -n "${WIDTH-}" ] || WIDTH=$(head -n 1 rows | wc -w)
        DONE=$((DONE + count))
        if [ -n "$JSON" ]; then cat rows >>all; else cat rows; fi
    elif [ "$count" -gt 1 ]; then # which one it is
        split -l 1 -a 3 -- "$1" "$1."
        for one in "$1".*; do vectors "$one"; done
    else
        said=$(sed -n 's/.*"message":"\([^"]*\)".*/\1/p' reply)
        case $said in *'too large'*) said="$said. Shorten it, or, where the model takes more, give more --context (now $CONTEXT)" ;; esac
        stop 2 "text $((DONE + 1)) has no vector: $said. The lines before are whole."
    fi
}

choose
command_line
if [ -n "$DRY_RUN" ]; then
    eval "set -- $COMMAND"
    step "$@"
    exit 0
fi
TEXT=${2-}
[ $# -eq 1 ] || [ -n "$TEXT" ] || stop 2 'there is no text to embed.'
# shellcheck disable=SC2119
begin
for part in part.*; do vectors "$part"; done
[ -z "$JSON" ] || awk '
    BEGIN { printf "{\"object\": \"list\", \"data\": [" }
    { gsub(/ /, ", "); printf "%s\n{\"object\": \"embedding\", \"index\": %d, \"embedding\": [%s]}", (NR > 1 ? "," : ""), NR - 1, $0 }
    END { print "\n]}" }' all
