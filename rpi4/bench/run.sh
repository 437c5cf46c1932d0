#!/bin/sh
# Time a model file on this board with llama-bench, and keep what the board was like before, meanwhile and after.
#
#   bench/run.sh [options] FILE.gguf
#
#   --out FILE      where the record goes (bench-DATE.json here); it is never written over
#   --pp LIST       prompt lengths (512); the first is the headline, as of the answers and cores
#   --tg LIST       answer lengths (128)
#   --threads LIST  cores to compute with (all); 4,3,2 finds out what suits the board
#   --repeat N      repetitions (5)
#   --dry-run       print the command and change nothing
#
# The record is one of pillm's own (schemas/benchmark.schema.json): on a computer, `pillm bench compare` reads it, and `pillm bench
# import` puts it into the history. A board that throttles, swaps, slows its clock, or reads prompts at speeds that differ by more
# than 1 %, or writes at speeds that do by more than 5 %, times itself, not the model: the record says so and counts as void.
# PILLM_LLAMACPP names the folder of setup_pi.sh --prefix.
# From a computer, with the file sent over ssh: pillm bench FILE.gguf --runner pi4 -o host=pi@raspberrypi.local
set -eu
HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../steps.sh
. "$HERE/../steps.sh"

OUT='' PP=512 TG=128 THREADS=$(cores) REPEAT=5
parse "$@"
eval "set -- $WORDS" && shift "$READ"
[ $# -eq 1 ] || stop 2 "name one .gguf file. See: $SELF --help"
MODEL=$1
[ -f "$MODEL" ] || stop 2 "there is no file $MODEL."
[ -n "$OUT" ] || OUT=bench-$(date -u +%Y%m%dT%H%M%SZ).json
[ ! -e "$OUT" ] || stop 2 "$OUT is there already, and a record is never written over. Choose another --out."
PART=$OUT.part
CPU=/sys/devices/system/cpu
LOADS=3

# first FILE: the first line of a file of the system, or nothing
first() {
    head -n 1 "$ROOT$1" 2>/dev/null | tr -d '\000\t' || true
}

# the bits of the firmware as a whole number, or nothing
throttled() {
    bits=$(vcgencmd get_throttled 2>/dev/null | sed -n 's/^throttled=\(0x[0-9a-fA-F]*\)$/\1/p')
    [ -z "$bits" ] || printf '%d' "$bits"
}

# one line of what the sensors say: seconds since the board was started, thousandths of a degree, throttle bits, kHz of each core
reading() {
    printf 'reading\t%s\t%s\t%s\t%s\n' "$(first /proc/uptime | cut -d ' ' -f 1)" "$(first /sys/class/thermal/thermal_zone0/temp)" \
        "$(throttled)" "$(cat "$ROOT$CPU"/cpu[0-9]*/cpufreq/scaling_cur_freq 2>/dev/null | tr '\n' ' ')"
}

# look at the sensors once a second, and at the most memory that the program took so far
watch() {
    while [ -d "$PART" ]; do
        reading
        sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB$/peak\t\1/p' "/proc/$(cat "$PART/pid" 2>/dev/null)/status" 2>/dev/null || true
        sleep 1
    done
}

swapped() {
    awk '$1 ~ /^pswp(in|out)$/ { sum += $2; found = 1 } END { if (found) print sum }' "$ROOT/proc/vmstat" 2>/dev/null || true
}

# what the board is like before it begins: name and value a line
conditions() {
    printf '%s\t%s\n' model "$(basename -- "$MODEL")" sha256 "$(sha256_of "$MODEL")" bytes "$(bytes_of "$MODEL")" \
        at "$(date -u +%Y-%m-%dT%H:%M:%SZ)" pp "${PP%%,*}" tg "${TG%%,*}" threads "${THREADS%%,*}" repetitions "$REPEAT" \
        board "$(first /proc/device-tree/model)" kernel "$(uname -r)" governor "$(first $CPU/cpu0/cpufreq/scaling_governor)" \
        firmware "$(vcgencmd version 2>/dev/null | tr '\n\t' '  ')" max_khz "$(first $CPU/cpu0/cpufreq/cpuinfo_max_freq)" \
        load "$(first /proc/loadavg | cut -d ' ' -f 1)" swapped "$(swapped)" boot_id "$(first /proc/sys/kernel/random/boot_id)" \
        uptime "$(first /proc/uptime | cut -d ' ' -f 1)" available_kb "$(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' "$ROOT/proc/meminfo")"
}

# shellcheck disable=SC2120
# how long the file takes to load once it was read: what llama-completion says of itself
loads() {
    exe=$(program llama-completion 2>/dev/null) || return 0
    takes "$exe"
    give --model MODEL
    give --threads "=${THREADS%%,*}"
    give '--predict --n-predict' =1
    give --prompt =x
    give --no-conversation
    for name in --no-warmup --offline --perf; do
        spare $name
    done
    eval "set -- $COMMAND"
    for _ in $(seq $LOADS); do
        "$@" 2>&1 >/dev/null </dev/null | sed -n 's/.*load time = *\([0-9.]*\) ms.*/load_time\t\1/p'
    done
}

exe=$(program llama-bench) || exit $?
takes "$exe"
give --model MODEL
give --n-prompt PP
give --n-gen TG
give --repetitions REPEAT
give --threads THREADS
give --output =jsonl
eval "set -- $COMMAND"
if [ -n "$DRY_RUN" ]; then
    step "$@"
    exit 0
fi
rm -rf "$PART"
mkdir "$PART"
conditions >"$PART/facts"
reading >"$PART/readings"
watch >>"$PART/readings" 2>/dev/null </dev/null &
watcher=$!
trap '[ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true; rm -rf "$PART"' EXIT
trap 'exit 130' INT TERM
code=0
# shellcheck disable=SC2016 # the inner shell becomes the program, so its number is known
hushed sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$PART/pid" "$@" >"$PART/rows" || code=$?
kill "$watcher" && watcher=
ended $code llama-bench
reading >>"$PART/readings"
printf 'swapped_after\t%s\n' "$(swapped)" >>"$PART/facts"
# shellcheck disable=SC2119
(loads) >"$PART/loads" || true
awk -f "$HERE/record.awk" "$PART/facts" "$PART/readings" "$PART/loads" "$PART/rows" >"$PART/record" ||
    stop 1 "llama-bench printed nothing that can be read; no record was written. It began with: $(head -c 200 "$PART/rows")"
sed -n 's/^ *"findings": \[\(.*\)\],*$/\1/p; s/^ *"void": \[\(.*\)\],*$/\1/p' "$PART/record" | sed '/^$/d; s/", "/; /g; s/"//g' | while read -r line; do say "$line"; done
! grep -q '^ *"void": \[[^]]' "$PART/record" || say 'the figures are kept and count as void'
mv -f "$PART/record" "$OUT"
printf '%s\n' "$OUT"
