#!/bin/sh
# Ask a model file, talk to it, or serve it to this machine.
#
#   run_decoder.sh [options] FILE.gguf PROMPT     print the answer
#   run_decoder.sh [options] FILE.gguf            talk to it; Ctrl-C ends
#   run_decoder.sh --serve FILE.gguf              answer on http://127.0.0.1:8080/v1 as OpenAI's servers do
#
#   --serve         answer whoever asks on this machine, until Ctrl-C
#   --tokens N      tokens after which an answer is cut (256)
#   --context N     tokens of prompt and answer (2048)
#   --threads N     cores to compute with (all)
#   --system TEXT   what the model is told before the prompt; by default the system message that it was trained under, from the file
#                   itself or from the contract.json beside it
#   --system-file F  the same, from a file
#   --no-system     tell it nothing before the prompt, however it was trained
#   --schema F      file with the JSON Schema that the answer must satisfy
#   --grammar F     file with the grammar (GBNF) that the answer must follow
#   --prompt-cache F  keep what was computed for the prompt in this file, and go on from there where the next one begins alike:
#                   with --system, only the first answer waits for it. It is one model's: F.model beside it says whose
#   --kv-type TYPE  how the context is kept (f16); q8_0 takes half the memory
#   --temperature X  the most probable answer at 0, others above it (0)
#   --seed X        chance begins at this number; for a --temperature above 0
#   --port N        port of --serve (8080)
#   --key-file F    file with the key that callers of --serve must show; without one, every program of this machine may ask
#   --dry-run       print the command and change nothing
#
# Unless told otherwise answers are greedy: the same prompt gives the same answer. The chat template is in the file.
# PILLM_LLAMACPP names the folder of setup_pi.sh --prefix.
set -eu
HERE=$(dirname -- "$0")
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$HERE/steps.sh"
# shellcheck source-path=SCRIPTDIR source=header.sh
. "$HERE/header.sh"

TOKENS=256 CONTEXT=2048 THREADS=$(cores) PORT=8080 KEY_FILE='' SERVE=''
SYSTEM='' SYSTEM_FILE='' NO_SYSTEM='' SCHEMA='' GRAMMAR='' PROMPT_CACHE='' KV_TYPE='' TEMPERATURE='' SEED=''
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -gt 0 ] || stop 2 "name a .gguf file. See: $SELF --help"
MODEL=$1
PROMPT=${2-}
[ $# -le 2 ] || stop 2 'quote the prompt: it is one word of the command line.'
model "$MODEL"
for file in "$SYSTEM_FILE" "$SCHEMA" "$GRAMMAR"; do
    [ -z "$file" ] || [ -f "$file" ] || stop 2 "there is no file $file."
done
decoder "$MODEL"
case ${SYSTEM:+x}${SYSTEM_FILE:+x}${NO_SYSTEM:+x} in xx*) stop 2 'give one of --system, --system-file and --no-system.' ;; esac
[ -z "$SCHEMA" ] || [ -z "$GRAMMAR" ] || stop 2 'give --schema or --grammar, not both.'
case $TEMPERATURE in *[!0-9.]* | *.*.* | .) stop 2 "--temperature needs a number from 0 on, not '$TEMPERATURE'." ;; esac
[ -z "$SEED" ] || number --seed "$SEED"
number --port "$PORT" 1 65535

serve() {
    [ -z "$PROMPT" ] || stop 2 '--serve takes no prompt.'
    [ -z "$SYSTEM$SYSTEM_FILE$SCHEMA$GRAMMAR$PROMPT_CACHE$KV_TYPE$TEMPERATURE$SEED" ] ||
        stop 2 'whoever asks --serve brings system prompt, schema, grammar, temperature and seed; it keeps its own cache.'
    [ -z "$NO_SYSTEM" ] || export PILLM_SYSTEM=none
    export PILLM_MODEL="$MODEL" PILLM_CONTEXT="$CONTEXT" PILLM_TOKENS="$TOKENS" PILLM_THREADS="$THREADS" PILLM_PORT="$PORT" PILLM_KEY_FILE="$KEY_FILE"
    code=0
    "$HERE/serve.sh" ${DRY_RUN:+--dry-run} model || code=$?
    case $code in [0-6]) exit "$code" ;; esac # said already
    ended $code llama-server
}

# what the model was told before every prompt of its training, unless the command line says what it is told
before() {
    [ -z "$SYSTEM$SYSTEM_FILE$NO_SYSTEM" ] || return 0
    system_message "$MODEL"
    SYSTEM=$BEFORE
    [ -z "$SYSTEM" ] || say "the model is told the system message that it was trained under, from $BEFORE_FROM. Without it: --no-system"
}

# stop where llama.cpp would hold the answer to less than the schema says
whole_schema() {
    passed=$(LC_ALL=C awk -f "$HERE/schema.awk" "$SCHEMA" | sort | paste -s -d , | sed 's/,/, /g')
    [ -z "$passed" ] || stop 2 "$SCHEMA says $passed, which llama.cpp passes over, so answers could break it. Take the grammar that the export wrote, where there is one: --grammar"
}

# stop where a prompt cache is of another model, whose answers would come out of it; a file that is as it was is not read again
own_cache() {
    note=$PROMPT_CACHE.model
    now=$(stat -L -c '%s %Y' -- "$MODEL")
    known=$(cat -- "$note" 2>/dev/null) || known=
    [ ! -e "$PROMPT_CACHE" ] || [ "${known#* }" != "$now $(readlink -f -- "$MODEL")" ] || return 0
    sum=$(sha256_of "$MODEL")
    [ ! -e "$PROMPT_CACHE" ] || [ "${known%% *}" = "$sum" ] ||
        stop 2 "$PROMPT_CACHE was kept for another model than $MODEL (or $note, which says so, is missing), and would give that one's answers. Name another, or remove it."
    [ -n "$DRY_RUN" ] || printf '%s %s %s\n' "$sum" "$now" "$(readlink -f -- "$MODEL")" >"$note"
}

# the command, but for the prompt
command_line() {
    exe=$(program llama-completion) || exit $?
    [ -n "$TEMPERATURE" ] || TEMPERATURE=0
    takes "$exe"
    give --model MODEL
    give --ctx-size CONTEXT
    give '--predict --n-predict' TOKENS
    give --threads THREADS
    give '--temp --temperature' TEMPERATURE
    give --conversation
    give --no-escape
    [ -z "$SEED" ] || give --seed SEED
    [ -z "$SYSTEM" ] || give --system-prompt SYSTEM
    [ -z "$SYSTEM_FILE" ] || give --system-prompt-file SYSTEM_FILE
    [ -z "$SCHEMA" ] || give --json-schema-file SCHEMA
    [ -z "$GRAMMAR" ] || give --grammar-file GRAMMAR
    [ -z "$PROMPT_CACHE" ] || give --prompt-cache PROMPT_CACHE
    [ -z "$KV_TYPE" ] || give --cache-type-k KV_TYPE
    [ -z "$KV_TYPE" ] || give --cache-type-v KV_TYPE
    for name in --jinja --no-warmup --offline --no-perf --simple-io; do
        spare $name
    done
}

[ -z "$SERVE" ] || { serve && exit 0; }
before
[ -z "$SCHEMA" ] || whole_schema
command_line
[ -z "$PROMPT_CACHE" ] || own_cache
unheard
[ -z "$PROMPT" ] || for name in --single-turn --no-display-prompt; do give $name; done
[ -z "$PROMPT" ] || give --prompt PROMPT
eval "set -- $COMMAND"
if [ -n "$DRY_RUN" ]; then
    step "$@"
elif [ -z "$PROMPT" ]; then
    step "$@" || ended $? llama-completion
else
    answered "$@"
    whole=${ANSWER%" [end of text]$LINE_END"}
    printf '%s\n' "${whole%"$LINE_END"}"
    if [ "$whole" = "$ANSWER" ]; then
        cut="the answer was cut, after $TOKENS tokens or where the context of $CONTEXT was full. For more: --tokens, --context"
        [ -z "$SCHEMA$GRAMMAR" ] || stop 1 "$cut. It does not have the form that was asked for"
        say "$cut"
    fi
fi
