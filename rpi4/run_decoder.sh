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
#   --port N        port of --serve (8080)
#   --key-file F    file with the key that callers of --serve must show; without one, every program of this machine may ask
#   --dry-run       print the command and change nothing
#
# Answers are greedy: the same prompt gives the same answer. The chat template is in the file.
set -eu
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$(dirname -- "$0")/steps.sh"

TOKENS=256 CONTEXT=2048 THREADS=$(cores) PORT=8080 KEY_FILE='' SERVE=''
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -gt 0 ] || stop 2 "name a .gguf file. See: $SELF --help"
MODEL=$1
PROMPT=${2-}
[ $# -le 2 ] || stop 2 'quote the prompt: it is one word of the command line.'
[ -f "$MODEL" ] || stop 2 "there is no file $MODEL."

if [ -n "$SERVE" ]; then
    [ -z "$PROMPT" ] || stop 2 '--serve takes no prompt.'
    export PILLM_MODEL="$MODEL" PILLM_CONTEXT="$CONTEXT" PILLM_TOKENS="$TOKENS" PILLM_THREADS="$THREADS" PILLM_PORT="$PORT" PILLM_KEY_FILE="$KEY_FILE"
    code=0
    "$(dirname -- "$0")/serve.sh" ${DRY_RUN:+--dry-run} model || code=$?
    case $code in [0-6]) exit "$code" ;; esac # said already
    ended $code llama-server
    exit 0
fi
exe=$(program llama-completion) || exit $?
set -- --model "$MODEL" --ctx-size "$CONTEXT" --predict "$TOKENS" --threads "$THREADS" --temp 0 --jinja --conversation \
    --no-warmup --no-escape --offline --no-perf --simple-io
if [ -z "$PROMPT" ]; then
    step "$exe" "$@" || ended $? llama-completion
    exit 0
fi
set -- "$@" --single-turn --no-display-prompt --prompt "$PROMPT"
if [ -n "$DRY_RUN" ]; then
    step "$exe" "$@"
    exit 0
fi
code=0
answer=$("$exe" "$@" 2>/dev/null </dev/null) || code=$?
ended $code llama-completion
printf '%s\n' "${answer% \[end of text\]}"
