# shellcheck shell=sh disable=SC2034
# What the header of a GGUF file says; sourced by the scripts that ask, not run. It uses steps.sh.

HEADER_BYTES=33554432 # more than the header of a file with 260,000 tokens

# model FILE: stop where that is no GGUF file; FOUND is then where it has the keys that are asked for below, by their ends
model() {
    [ -f "$1" ] || stop 2 "there is no file $1."
    [ "$(head -c 4 -- "$1" | tr -d '\000')" = GGUF ] || stop 2 "$1 is no GGUF file."
    FOUND=$(head -c $HEADER_BYTES -- "$1" | LC_ALL=C grep -aboF -e general.architecture -e .context_length -e .pooling_type \
        -e .attention.causal -e tokenizer.chat_template -e pillm.contract -e pillm.asked -e pillm.system) || FOUND=
}

# whole FILE OFFSET BYTES: a whole number of that many bytes
whole() {
    od -An -j "$2" -N "$3" "-tu$3" -- "$1" | tr -d ' '
}

# part FILE OFFSET BYTES: what stands there
part() {
    tail -c +$(($2 + 1)) -- "$1" | head -c "$3"
}

# fact FILE KEY: the text or whole number that stands under a key; nothing where there is none. A key has its length before it
fact() {
    printf '%s\n' "$FOUND" | while IFS=: read -r at suffix; do
        case $2 in *"${suffix:-:}") ;; *) continue ;; esac
        at=$((at - ${#2} + ${#suffix}))
        [ "$at" -lt 8 ] && continue
        [ "$(whole "$1" $((at - 8)) 8)$(part "$1" "$at" ${#2} | tr -d '\000')" = "${#2}$2" ] || continue
        at=$((at + ${#2}))
        case $(whole "$1" "$at" 4) in
        0 | 1 | 7) whole "$1" $((at + 4)) 1 ;;
        4 | 5) whole "$1" $((at + 4)) 4 ;;
        8) part "$1" $((at + 12)) "$(whole "$1" $((at + 4)) 8)" ;;
        10 | 11) whole "$1" $((at + 4)) 8 ;;
        esac
        break
    done
}

# decoder FILE: stop where a model turns texts into vectors, and answers nothing
decoder() {
    arch=$(fact "$1" general.architecture)
    case $arch in
    *bert* | t5encoder | *-embedding | llama-embed) ;;
    *) [ "$(fact "$1" "$arch.attention.causal")" = 0 ] || return 0 ;;
    esac
    stop 2 "$1 turns texts into vectors ($arch) and answers nothing. Embed with it: run_encoder.sh"
}

# system_message FILE: the message that was before every prompt of the training, to BEFORE, nothing where there was none, and where it
# stands to BEFORE_FROM. The file has it, or the contract.json beside it, which the file knows by its hash.
system_message() {
    BEFORE='' BEFORE_FROM=''
    beside=$(dirname -- "$1")/contract.json
    hash=$(fact "$1" pillm.contract)
    [ -n "$hash" ] || return 0 # not a file of pillm's
    case $(fact "$1" pillm.asked) in
    'after pillm.system')
        BEFORE=$(fact "$1" pillm.system && echo .)
        BEFORE=${BEFORE%.} BEFORE_FROM='the file itself (pillm.system)'
        return 0
        ;;
    'as it is') return 0 ;;
    'each row in its own way')
        say "each row of the training had a system message of its own; whoever asks must send it"
        return 0
        ;;
    esac
    if [ ! -f "$beside" ]; then
        say "there is no contract.json beside $1, so a system message that it was trained under is not known. Copy it from the export"
    elif ! LC_ALL=C grep -qF -e "\"hash\": \"$hash\"" -- "$beside"; then
        say "$beside belongs to another model: $1 was trained under the contract $hash. It is not used"
    elif ! LC_ALL=C grep -qF -e '"schema_in_prompt": "none"' -- "$beside"; then
        say "each row of the training told its JSON Schema in the system message; whoever asks must send it"
    else
        BEFORE=$(unquoted "$(LC_ALL=C sed -n 's/^  "system": "\(.*\)",\{0,1\}$/\1/p' "$beside")" && echo .)
        BEFORE=${BEFORE%.} BEFORE_FROM=$beside
    fi
}

# unquoted TEXT: what stands between the quotes of a JSON string, as pillm writes it: no letter beyond control characters is escaped
unquoted() {
    printf '%s' "$1" | LC_ALL=C awk '
        BEGIN { RS = "\001"; names = "btnfr"; split("\b,\t,\n,\f,\r", meant, ",") }
        {
            while (at = index($0, "\\")) {
                letter = substr($0, at + 1, 1)
                found = index(names, letter) ? meant[index(names, letter)] : letter
                if (letter == "u") found = sprintf("%c", 16 * digit(at + 4) + digit(at + 5))
                printf "%s%s", substr($0, 1, at - 1), found
                $0 = substr($0, at + (letter == "u" ? 6 : 2))
            }
            printf "%s", $0
        }
        function digit(at) { return index("0123456789abcdef", tolower(substr($0, at, 1))) - 1 }'
}

# with_system FILE: to TEMPLATE, the chat template of a file with one statement before it, which puts BEFORE where no system message is
with_system() {
    TEMPLATE=$(fact "$1" tokenizer.chat_template && echo .)
    TEMPLATE=${TEMPLATE%.}
    [ -n "$TEMPLATE" ] || return 1
    literal=$(printf '%s' "$BEFORE" | sed 's/\\/\\\\/g; s/"/\\"/g' && echo .)
    first="messages and messages[0]['role'] in ['system', 'developer']"
    TEMPLATE="{% set messages = messages if $first else [{'role': 'system', 'content': \"${literal%.}\"}] + messages %}$TEMPLATE"
}
