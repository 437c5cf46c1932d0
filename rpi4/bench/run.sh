#!/bin/sh
# Time a model file on this board with llama-bench, and keep what the board was like before and after.
#
#   bench/run.sh [options] FILE.gguf
#
#   --out FILE      where the record goes (bench-DATE.json here); it is never written over
#   --pp LIST       prompt lengths (512)
#   --tg LIST       answer lengths (128)
#   --threads LIST  cores to compute with (all); 2,3,4 finds out what suits the board
#   --repeat N      repetitions (5)
#   --dry-run       print the command and change nothing
#
# A board that throttles or is busy times itself, not the model: the record says so and counts as void.
# From a computer, with history and comparison: pillm bench FILE.gguf --runner pi4 -o host=pi@raspberrypi.local
set -eu
# shellcheck source-path=SCRIPTDIR source=../steps.sh
. "$(dirname -- "$0")/../steps.sh"

OUT='' PP=512 TG=128 THREADS=$(cores) REPEAT=5
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -eq 1 ] || stop 2 "name one .gguf file. See: $SELF --help"
MODEL=$1
[ -f "$MODEL" ] || stop 2 "there is no file $MODEL."
[ -n "$OUT" ] || OUT=bench-$(date -u +%Y%m%dT%H%M%SZ).json
[ ! -e "$OUT" ] || stop 2 "$OUT is there already, and a record is never written over. Choose another --out."
exe=$(program llama-bench) || exit $?

# first FILE: the first line of a file of the system, or nothing
first() {
    head -n 1 "$ROOT$1" 2>/dev/null | tr -d '\000"\134' || true
}

throttled() {
    if command -v vcgencmd >/dev/null 2>&1; then
        vcgencmd get_throttled | sed 's/.*=//' | tr -cd '0-9a-fx'
    fi
}

state() {
    printf '{"throttled":"%s","temperature_mc":"%s","clock_khz":"%s","load":"%s"}' "$(throttled)" \
        "$(first /sys/class/thermal/thermal_zone0/temp)" "$(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq)" \
        "$(first /proc/loadavg | cut -d ' ' -f 1)"
}

set -- "$exe" --model "$MODEL" --n-prompt "$PP" --n-gen "$TG" --repetitions "$REPEAT" --threads "$THREADS" --output json
if [ -n "$DRY_RUN" ]; then
    step "$@"
    exit 0
fi
was=$(throttled)
before=$(state)
governor=$(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)
[ -z "$governor" ] || [ "$governor" = performance ] || say "the clock is governed by '$governor'; figures are steadier with: sudo cpupower frequency-set -g performance"
code=0
rows=$("$@" 2>/dev/null </dev/null) || code=$?
ended $code llama-bench
after=$(state)
void=false
now=$(throttled)
# the low bits say what is now, the high ones what was since the board was started
if [ "$now" != "$was" ] || [ $((${now:-0} & 15)) -ne 0 ]; then
    void=true
    say 'the board throttled or lacked power: the figures are kept and count as void'
fi
printf '{"schema":"pillm-board-bench-1","at":"%s","board":"%s","kernel":"%s","governor":"%s","sha256":"%s","void":%s,"before":%s,"after":%s,"rows":%s}\n' \
    "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(first /proc/device-tree/model)" "$(uname -r)" "$governor" "$(sha256_of "$MODEL")" \
    "$void" "$before" "$after" "$rows" >"$OUT.part"
mv -f "$OUT.part" "$OUT"
printf '%s\n' "$OUT"
