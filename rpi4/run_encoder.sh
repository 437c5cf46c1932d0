#!/bin/sh
# Embed texts with a model file: one line of numbers, of length 1, for each line of text.
#
#   run_encoder.sh [options] FILE.gguf TEXT
#   run_encoder.sh [options] FILE.gguf <texts.txt     one text a line
#
#   --pooling KIND  none, mean, cls, last or rank; by default what the file says (decoders: mean)
#   --threads N     cores to compute with (all)
#   --json          one JSON document, as OpenAI's servers answer, instead of lines
#   --dry-run       print the command and change nothing
set -eu
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$(dirname -- "$0")/steps.sh"

# shellcheck disable=SC2034 # what `give` is told by name
POOLING='' THREADS=$(cores) JSON=''
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -gt 0 ] || stop 2 "name a .gguf file. See: $SELF --help"
MODEL=$1
[ $# -le 2 ] || stop 2 'quote the text: it is one word of the command line.'
[ -f "$MODEL" ] || stop 2 "there is no file $MODEL."
case $POOLING in '' | none | mean | cls | last | rank) ;; *) stop 2 "--pooling knows none, mean, cls, last and rank, not '$POOLING'." ;; esac
exe=$(program llama-embedding) || exit $?

format=array
# shellcheck disable=SC2034
[ -z "$JSON" ] || format=json
text=${2-}
[ $# -eq 2 ] || text=$(cat)
[ -n "$text" ] || stop 2 'there is no text to embed.'
takes "$exe"
give --model MODEL
give --threads THREADS
give --embd-normalize =2
give --embd-output-format format
give --no-escape
for name in --no-warmup --offline; do
    spare $name
done
[ -z "$POOLING" ] || give --pooling POOLING
give --prompt text
eval "set -- $COMMAND"
if [ -n "$DRY_RUN" ]; then
    step "$@"
    exit 0
fi
code=0
found=$(hushed "$@") || code=$?
ended $code llama-embedding
if [ -n "$JSON" ]; then
    printf '%s\n' "$found"
else
    printf '%s\n' "$found" | sed 's/^\[\[//; s/\]\]$//; s/\],\[/\n/g' | tr ',' ' '
fi
