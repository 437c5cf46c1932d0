#!/bin/sh
# Serve a model file to this machine, with settings that suit a board of 2 to 8 GB. The service pillm-serve@NAME runs this.
#
#   pillm-serve [--check] NAME
#   pillm-serve --wait NAME
#   pillm-serve --new-key NAME
#
#   --check         print what would run and what stands in its way, have the program read every word of it, and run nothing
#   --dry-run       print the command and start nothing
#   --wait          wait until the server of that name answers; what the service does before it counts as started
#   --new-key       make the API key that callers of the service must show: /etc/pillm/keys/NAME.key, for root alone
#
# NAME stands for /var/lib/pillm/models/NAME.gguf. Settings, from the environment, else from /etc/pillm/serve.d/NAME.env, else
# from /etc/default/pillm-serve: PILLM_MODEL (another file), PILLM_PORT (8080), PILLM_CONTEXT (tokens of prompt and answer),
# PILLM_TOKENS (after which an answer is cut, 512), PILLM_THREADS (all cores), PILLM_SYSTEM (none: callers are not given the system
# message that the model was trained under), PILLM_KEY_FILE, PILLM_WAIT (seconds, 240), and PILLM_OPTIONS, which llama-server gets
# too. The address is always 127.0.0.1. PILLM_LLAMACPP names the folder of setup_pi.sh --prefix.
set -euf
HERE=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source-path=SCRIPTDIR source=steps.sh
. "$HERE/steps.sh"
# shellcheck source-path=SCRIPTDIR source=header.sh
. "$HERE/header.sh"

CHECK='' WAIT='' NEW_KEY=''
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -eq 1 ] || stop 2 "name one model. See: $SELF --help"
WHO=$1
case $WHO in
.* | -* | '' | *[!A-Za-z0-9._-]*) stop 2 "'$WHO' is no name: letters, digits, '.', '_' and '-', beginning with a letter or digit." ;;
esac
SETTINGS=$ROOT/etc/pillm/serve.d/$WHO.env
DEFAULTS=$ROOT/etc/default/pillm-serve
KEY=$ROOT/etc/pillm/keys/$WHO.key

# settings FILE: take what a file sets, unless it was set before; nothing in it is run
settings() {
    [ -r "$1" ] || return 0
    line=0
    while IFS= read -r text || [ -n "$text" ]; do
        line=$((line + 1))
        key=${text%%=*}
        case $text in
        '' | '#'* | ';'*) continue ;;
        PILLM_MODEL=* | PILLM_PORT=* | PILLM_CONTEXT=* | PILLM_TOKENS=* | PILLM_THREADS=* | PILLM_WAIT=* | PILLM_OPTIONS=* | PILLM_KEY_FILE=* | PILLM_SYSTEM=*) ;;
        *) stop 2 "$1:$line: '$key' is no setting. See: $SELF --help" ;;
        esac
        value=${text#*=}
        value=${value#[\"\']}
        value=${value%[\"\']}
        eval "known=\${$key-}"
        [ -n "$known" ] || export "$key=$value"
    done <"$1"
}

# shellcheck disable=SC2034 # what `give` is told by name
# size_for MIB: what a board with that much memory can spare
size_for() {
    if [ "$1" -lt 1500 ]; then
        CONTEXT=1024 BATCH=128 UBATCH=64 CACHE=0 CHECKPOINTS=0 REPACK=--no-repack
    elif [ "$1" -lt 3000 ]; then
        # on a Pi 5 the weights would be held a second time, in the order that its kernels like
        CONTEXT=2048 BATCH=256 UBATCH=128 CACHE=32 CHECKPOINTS=1 REPACK=--no-repack
    elif [ "$1" -lt 6000 ]; then
        CONTEXT=2048 BATCH=256 UBATCH=128 CACHE=64 CHECKPOINTS=2 REPACK=--repack
    else
        CONTEXT=4096 BATCH=256 UBATCH=128 CACHE=256 CHECKPOINTS=4 REPACK=--repack
    fi
}

# fits: stop where the file is larger than the memory, and warn where little is left
fits() {
    need=$(($(bytes_of "$MODEL") / 1048576))
    [ "$need" -lt "$RAM" ] || stop 2 "$MODEL has $need MiB and this board $RAM MiB of memory: each token would be read from the disk. Take a smaller file; pillm plan tells which."
    [ "$need" -lt $((RAM * 3 / 4)) ] || say "$MODEL has $need of $RAM MiB of memory; little is left for prompt and answer"
}

# say what the kernel does not do: Raspberry Pi kernels start without the memory controller
memory_limits() {
    controllers=$(cat "$ROOT/sys/fs/cgroup/cgroup.controllers" 2>/dev/null) || controllers=
    case " $controllers " in
    *' memory '*) ;;
    *) say "the memory controller is off, so the service's MemoryHigh is void and nothing limits what a server takes. To turn it on: add cgroup_enable=memory to the one line of /boot/firmware/cmdline.txt, and reboot" ;;
    esac
}

# options WORD ...: refuse what would undo the service's promises. llama-server takes _ for - in its flags.
options() {
    for word; do
        case $(printf '%s' "$word" | tr _ -) in
        --host* | --port* | --reuse-port* | --path* | --api-* | --ssl-* | --cors-* | --slots* | --props* | --slot-save-path* | --media-path* | \
            --tools* | -ag | --agent* | --mcp* | --ui* | --webui* | --models-* | --rpc* | --log-file* | --log-prompts-dir*)
            stop 6 "PILLM_OPTIONS: $word is not for a service. It listens on 127.0.0.1, asks for a key, shows no other's prompts, and runs no tools."
            ;;
        -hf* | --hf-* | -mu | --model-url* | -mmu | --mmproj-url* | -dr | --docker-repo* | --spec-draft-hf* | --*-default | --*-spec)
            stop 6 "PILLM_OPTIONS: $word downloads a model, and a service has no network. Get it before: get_model.sh"
            ;;
        -m | --model | -a | --alias) stop 6 "PILLM_OPTIONS: $word is not for a service, whose name stands for one file. Another file: PILLM_MODEL" ;;
        -c | --ctx-size | -n | --predict | --n-predict | -t | --threads) stop 2 "PILLM_OPTIONS: $word has a setting of its own: PILLM_CONTEXT, PILLM_TOKENS, PILLM_THREADS." ;;
        -np | --parallel) stop 2 "PILLM_OPTIONS: $word would share the context among several answers, and memory is reckoned for one at a time." ;;
        -h | --help | --usage | --version | --license | --list-devices | -cl | --cache-list | --completion-bash)
            stop 2 "PILLM_OPTIONS: $word prints something and ends, and a service shall stay."
            ;;
        esac
    done
}

key_file() {
    if [ -n "${CREDENTIALS_DIRECTORY-}" ]; then
        printf '%s' "$CREDENTIALS_DIRECTORY/api-key"
    elif [ -n "${PILLM_KEY_FILE-}" ]; then
        [ -f "$PILLM_KEY_FILE" ] || stop 2 "there is no file $PILLM_KEY_FILE."
        printf '%s' "$PILLM_KEY_FILE"
    elif [ -n "$CHECK$WAIT" ]; then
        printf '%s' "$KEY"
    fi
}

# said_at PORT PATH: what a server on this machine says there; nothing where it does not answer, or wants another key
said_at() {
    shown=$(key_file) || shown=
    { [ ! -r "$shown" ] || sed -n '1{s/[\\"]/\\&/g; s/.*/header = "Authorization: Bearer &"/p;}' "$shown"; } |
        curl --config - --silent --fail --noproxy '*' --max-time 5 "http://127.0.0.1:$1$2"
}

# ours PORT: say whether the server there has the model of this name
ours() {
    said_at "$1" /v1/models | tr -d ' ' | grep -qF -e "\"id\":\"$WHO\""
}

# port_free PORT: stop where another program listens
port_free() {
    at=$(printf ':%04X' "$1")
    LC_ALL=C grep -qsE "$at 0+:0000 0A" "$ROOT/proc/net/tcp" "$ROOT/proc/net/tcp6" || return 0
    if ours "$1"; then
        say "$WHO answers on port $1 now"
    else
        stop 1 "port $1 is taken by another program (or one with another key). Another port: PILLM_PORT"
    fi
}

# check WORD ...: hold every flag of the command against the program's own help, and let it read the words
check() {
    [ -e "$KEY" ] || say "there is no key $KEY (or only root sees it), and the service does not start without one: sudo $SELF --new-key $WHO"
    [ -n "$(find -L "$MODEL" -maxdepth 0 -perm -004)" ] || say "the service runs as a user of its own, who may not read $MODEL: sudo chmod a+r $MODEL"
    strange=
    for word; do
        case $word in --*) flag "$word" >/dev/null || strange="$strange $word" ;; esac
    done
    [ -z "$strange" ] || stop 4 "this $exe does not know:$strange. pillm-llamacpp of the same version does."
    [ -r "$key" ] || key=/dev/null
    eval "set -- $COMMAND"
    shift
    hushed "$exe" --help "$@" >/dev/null || stop 2 "$exe does not take these words, as it says above. Mend PILLM_OPTIONS."
    port_free "$PORT"
    say "$(printf '%s\n' "$@" | grep -c '^--') flags, all known to $exe; $RAM MiB of memory"
}

# template: where the model was trained under a system message, callers that send none get it
template() {
    system_message "$MODEL"
    [ -n "$BEFORE" ] || return 0
    if with_system "$MODEL" && [ ${#TEMPLATE} -lt 120000 ]; then
        say "who sends no system message asks with the one that the model was trained under, from $BEFORE_FROM. Without it: PILLM_SYSTEM=none"
    else
        TEMPLATE=''
        say "the chat template of $MODEL cannot be given the system message that it was trained under ($BEFORE_FROM): whoever asks must send it"
    fi
}

# shellcheck disable=SC2034,SC2120
serve() {
    MODEL=${PILLM_MODEL:-$ROOT/var/lib/pillm/models/$WHO.gguf}
    [ -r "$MODEL" ] || stop 2 "there is no file $MODEL that may be read here. Files below /home are hidden from a service: sudo install -m 644 FILE.gguf /var/lib/pillm/models/$WHO.gguf"
    model "$MODEL"
    decoder "$MODEL"
    TEMPLATE=''
    [ -n "${PILLM_SYSTEM-}" ] || template
    RAM=$(memory_mib)
    size_for "$RAM"
    fits
    memory_limits
    exe=$(program llama-server) || exit $?
    key=$(key_file) || exit $?
    CONTEXT=${PILLM_CONTEXT:-$CONTEXT} TOKENS=${PILLM_TOKENS:-512} THREADS=${PILLM_THREADS:-$(cores)} PORT=${PILLM_PORT:-8080}
    # shellcheck disable=SC2086 # one word each
    options ${PILLM_OPTIONS-}
    takes "$exe"
    # llama-server's own defaults are made for large machines: four answers at once, 8 GiB of prompt cache, every web page may ask
    give --model MODEL
    spare --alias WHO
    give --ctx-size CONTEXT
    give '--predict --n-predict' TOKENS
    give --threads THREADS
    spare --threads-batch THREADS
    give --batch-size BATCH
    give --ubatch-size UBATCH
    give --parallel =1
    spare --cache-ram CACHE
    spare --ctx-checkpoints CHECKPOINTS
    spare "$REPACK"
    spare --load-mode =mmap
    give '--temp --temperature' =0
    spare --jinja
    [ -z "$TEMPLATE" ] || give --chat-template TEMPLATE
    spare --metrics
    # after the options of others, since the last one counts
    COMMAND="$COMMAND ${PILLM_OPTIONS:+\$PILLM_OPTIONS}"
    give '--no-ui --no-webui'
    give --no-slots
    spare --offline
    give --host =127.0.0.1
    give --port PORT
    give --cors-origins =localhost
    [ -z "$key" ] || give --api-key-file key
    eval "set -- $COMMAND"
    unheard
    if [ -n "$CHECK" ]; then
        DRY_RUN=yes
        step "$@"
        check "$@"
    elif [ -n "$DRY_RUN" ]; then
        step "$@"
    else
        exec "$@"
    fi
}

# /health needs no key, and answers 503 while the file is read
wait_for() {
    url=http://127.0.0.1:${PILLM_PORT:-8080}/health
    limit=${PILLM_WAIT:-240}
    if [ -n "$DRY_RUN" ]; then
        step curl "$url"
        return 0
    fi
    command -v curl >/dev/null 2>&1 || stop 4 'curl is not installed. Get it with: sudo apt-get install curl'
    began=$(date +%s)
    until curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null "$url"; do
        [ $(($(date +%s) - began)) -lt "$limit" ] || stop 1 "$WHO did not answer on $url within $limit s."
        sleep 1
    done
    ours "${PILLM_PORT:-8080}" || stop 1 "what answers on port ${PILLM_PORT:-8080} is not $WHO: another program has that port, or the key is another. Another port: PILLM_PORT"
}

new_key() {
    [ ! -e "$KEY" ] || stop 2 "$KEY is there already. Nothing was changed; remove it first where callers shall need another."
    step mkdir -p -m 700 "$(dirname -- "$KEY")"
    [ -n "$DRY_RUN" ] || (umask 077 && od -An -N 32 -tx1 /dev/urandom | tr -d ' \n' >"$KEY") || stop 1 "$KEY cannot be written. Try: sudo $SELF --new-key $WHO"
    say "made $KEY. After a change: sudo systemctl restart pillm-serve@$WHO"
}

settings "$SETTINGS"
settings "$DEFAULTS"
for name in PILLM_PORT PILLM_CONTEXT PILLM_TOKENS PILLM_THREADS PILLM_WAIT; do
    eval "given=\${$name-}"
    [ -z "$given" ] || number "$name" "$given" 1 "$([ $name != PILLM_PORT ] || echo 65535)"
done
case ${PILLM_SYSTEM-} in '' | none) ;; *) stop 2 "PILLM_SYSTEM knows none, not '$PILLM_SYSTEM'." ;; esac
if [ -n "$NEW_KEY" ]; then
    new_key
elif [ -n "$WAIT" ]; then
    wait_for
else
    serve
fi
