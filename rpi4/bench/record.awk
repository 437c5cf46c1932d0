# One record of pillm's (schemas/benchmark.schema.json) from what bench/run.sh saw: facts (name, value), readings of the sensors,
# load times, and llama-bench's rows (JSON, one a line). The rules for what is void are those of pillm/performance/verdict.py.

function text(value) {
    gsub(/\\/, "&&", value)
    gsub(/"/, "\\\"", value)
    gsub(/[\001-\037]/, " ", value)
    return "\"" value "\""
}

# number or null; some files of the system are empty
function number(value, divisor) {
    return value ~ /^-?[0-9]+(\.[0-9]+)?$/ ? sprintf("%.10g", value / divisor) : "null"
}

function known(value) {
    return value == "" ? "null" : text(value)
}

function bit(value, place) {
    return int(value / 2 ^ place) % 2
}

function both(list, word) {
    return list == "" ? word : list ", " word
}

# what the bits say holds a board back, now (from 0) or since it was started (from 16)
function held(bits, from, said) {
    said = ""
    if (bit(bits, from)) said = both(said, "under-voltage")
    if (bit(bits, from + 1)) said = both(said, "frequency capped")
    if (bit(bits, from + 2)) said = both(said, "throttled")
    if (bit(bits, from + 3)) said = both(said, "soft temperature limit")
    return said
}

# the value of a name in one row of JSON
function field(name, found) {
    if (!match($0, "\"" name "\": *(\"([^\"\\\\]|\\\\.)*\"|[^,}]*)")) return ""
    found = substr($0, RSTART, RLENGTH)
    sub(/^"[^"]*": */, "", found)
    gsub(/["\\]/, "", found)
    return found
}

# the samples of a row, without its brackets
function samples(found) {
    if (!match($0, /"samples_ts": *\[[^]]*\]/)) return ""
    found = substr($0, RSTART, RLENGTH)
    sub(/^[^[]*\[ */, "", found)
    sub(/ *\]$/, "", found)
    return found
}

# the median of samples with their whole range: of five, that is the 95 % interval of the bootstrap
function median(list, count, sorted, i, j, held_back) {
    count = split(list, sorted, / *, */)
    for (i = 2; i <= count; i++) {
        held_back = sorted[i]
        for (j = i - 1; j > 0 && sorted[j] + 0 > held_back + 0; j--) sorted[j + 1] = sorted[j]
        sorted[j + 1] = held_back
    }
    middle = count % 2 ? sorted[(count + 1) / 2] + 0 : (sorted[count / 2] + sorted[count / 2 + 1]) / 2
    return sprintf("{\"value\": %.10g, \"low\": %.10g, \"high\": %.10g, \"samples\": [%s]}", middle, sorted[1], sorted[count], list)
}

# the standard deviation as a share of the mean; 0 of a single sample
function spread(list, count, each, i, sum, squares) {
    count = split(list, each, / *, */)
    for (i = 1; i <= count; i++) sum += each[i]
    for (i = 1; i <= count; i++) squares += (each[i] - sum / count) ^ 2
    return count > 1 && sum > 0 ? sqrt(squares / (count - 1)) / (sum / count) : 0
}

function reason(sentence) {
    void = both(void, text(sentence))
}

function finding(sentence) {
    findings = both(findings, text(sentence))
}

function missing(name, why) {
    lacks = both(lacks, text(name) ": " text(why))
}

BEGIN { FS = "\t"; SPREAD = 0.01; DECODE = 5; FELL = 0.95; WARM = 55; BUSY = 0.3 }

$1 == "reading" && NF >= 5 { seen[++count] = $0; next }
$1 == "peak" { if ($2 > peak) peak = $2; next }
$1 == "load_time" { loaded = both(loaded, $2); next }
/^\{/ {
    kind = field("n_gen") + 0 ? "tg" : "pp"
    if (field("n_gen") + 0 && field("n_prompt") + 0) next
    tokens = (kind == "tg" ? field("n_gen") : field("n_prompt")) + 0
    own = field("n_threads") + 0 == fact["threads"] + 0
    found = samples()
    if (found == "") next
    speed = median(found)
    if (own && tokens == fact[kind] + 0) { headline[kind] = found; value[kind] = middle }
    point = "{\"name\": " text(kind tokens (own ? "" : " t" field("n_threads"))) ", \"kind\": \"" kind "\", \"tokens\": " tokens
    point = point (own ? "" : ", \"threads\": " field("n_threads")) ", \"speed\": " speed "}"
    if (own && tokens == fact[kind] + 0) head[kind] = point
    else points = points ",\n    " point
    details = "\"build_commit\": " text(field("build_commit")) ", \"cpu_info\": " text(field("cpu_info")) ", \"model_type\": " text(field("model_type"))
    next
}
NF == 2 { fact[$1] = $2 }

function judge_readings(i, part, cores, n, fastest, bits, last, bad, words, seconds) {
    for (i = 1; i <= count; i++) {
        split(seen[i], part, "\t")
        seconds = number(part[2], 1)
        n = split(part[5], cores, " ")
        fastest = 0
        clocks = ""
        while (n > 0) {
            if (cores[n] / 1000 > fastest) fastest = cores[n] / 1000
            clocks = number(cores[n], 1000) (clocks == "" ? "" : ", " clocks)
            n--
        }
        line = "{\"time\": " (seconds == "null" ? i - 1 : seconds) ", \"temperature_c\": " number(part[3], 1000)
        line = line ", \"clocks_mhz\": [" clocks "], \"throttled\": " number(part[4], 1) (i == 1 || i == count ? ", \"phase\": \"idle\"}" : "}")
        if (i == 1) { before = line; degrees = part[3] / 1000; has_clock = fastest }
        readings = readings (i == 1 ? "" : ",\n    ") line
        # at the first the clock still rises, at the last the work is over
        if (i > 1 && i < count && fastest) {
            if (fastest > high) high = fastest
            if (fastest < FELL * high && (!low || fastest / high < low / fell_from)) { low = fastest; fell_from = high }
        }
        if (part[4] == "") continue
        if (first_bits == "") first_bits = bits = part[4]
        for (n = 0; n < 20; n++) if (bit(part[4], n) && !bit(bits, n)) came[n] = 1
        if (part[4] != bits) changed = 1
        bits = part[4]
    }
    if (changed) {
        for (n = 0; n < 20; n++) if (came[n]) bad += 2 ^ n
        for (n = 0; n < 4; n++) if (bit(bad, n) && bit(bad, n + 16)) bad -= 2 ^ (n + 16)
        words = held(bad, 0)
        if (held(bad, 16) != "") words = both(words, held(bad, 16))
        reason(sprintf("the throttle bits changed from 0x%x to 0x%x: %s", first_bits, bits, words == "" ? "they were cleared" : words))
    } else if (held(bits, 0) != "") reason("held back throughout: " held(bits, 0))
    if (low) reason(sprintf("the clock fell from %.0f to %.0f MHz", fell_from, low))
}

function preflight() {
    if (fact["governor"] != "" && fact["governor"] != "performance")
        finding("the governor is " fact["governor"] ": the clock may change; `performance` holds it")
    if (degrees >= WARM) finding(sprintf("%.0f °C before it began: let it cool below %.0f", degrees, WARM))
    if (held(first_bits, 0) != "") finding("held back at this moment: " held(first_bits, 0))
    if (held(first_bits, 16) != "") finding("held back since it was started: " held(first_bits, 16))
    if (fact["load"] >= BUSY) finding(sprintf("a load of %.2f: other programs run; %.1f is quiet", fact["load"], BUSY))
    if (fact["available_kb"] != "" && fact["available_kb"] * 1024 < 1.15 * fact["bytes"])
        finding(sprintf("%.0f MB of memory can be had: it may swap or be ended", fact["available_kb"] * 1024 / 1e6))
    if (!degrees) missing("temperature", "no thermal zone")
    if (!has_clock) missing("clock", "no cpufreq")
    if (first_bits == "") missing("throttling", "no vcgencmd, so no throttle bits")
    missing("power", "not read")
}

END {
    if (headline["pp"] == "" || headline["tg"] == "") exit 1
    judge_readings()
    preflight()
    if (fact["swapped"] != "" && fact["swapped_after"] > fact["swapped"])
        reason(sprintf("%d pages were swapped meanwhile", fact["swapped_after"] - fact["swapped"]))
    if (spread(headline["pp"]) > SPREAD)
        reason(sprintf("prefill is spread by %.1f%%, more than %.1f%%", 100 * spread(headline["pp"]), 100 * SPREAD))
    if (spread(headline["tg"]) > SPREAD * DECODE)
        reason(sprintf("decode is spread by %.1f%%, more than %.1f%%", 100 * spread(headline["tg"]), 100 * SPREAD * DECODE))
    times = loaded == "" ? "" : "\"load_warm_ms\": " median(loaded)
    load_ms = loaded == "" ? "null" : sprintf("%.10g", middle)
    if (loaded == "") gone = text("load_ms") ": " text("llama-completion told no load time")
    if (!peak) gone = both(gone, text("peak memory") ": " text("the program had ended before it was looked at"))
    print "{"
    print "  \"version\": 2, \"model\": " text(fact["model"]) ", \"device\": " text(fact["board"] == "" ? "this machine" : fact["board"]) ","
    print "  \"basis\": \"measured\", \"runner\": \"llama-bench\", \"at\": " text(fact["at"]) ","
    print "  \"sha256\": " text(fact["sha256"]) ", \"bytes\": " number(fact["bytes"], 1) ","
    print "  \"pp\": " fact["pp"] ", \"tg\": " fact["tg"] ", \"threads\": " fact["threads"] ", \"repetitions\": " fact["repetitions"] ","
    printf "  \"pp_tps\": %.10g, \"tg_tps\": %.10g, \"load_ms\": %s, \"peak_memory\": %s,\n", value["pp"], value["tg"], load_ms, peak ? sprintf("%.0f", peak * 1024) : "null"
    print "  \"samples\": {\"pp_tps\": [" headline["pp"] "], \"tg_tps\": [" headline["tg"] "]},"
    print "  \"points\": [\n    " head["pp"] ",\n    " head["tg"] points "\n  ],"
    print "  \"times\": {" times "}, \"memory\": {" (peak ? sprintf("\"peak\": %.0f", peak * 1024) : "") "}, \"not_measured\": {" gone "},"
    print "  \"conditions\": {\"machine\": \"this machine\", \"model\": " known(fact["board"]) ", \"kernel\": " known(fact["kernel"]) ", \"firmware\": " known(fact["firmware"]) ","
    print "    \"governor\": " known(fact["governor"]) ", \"max_mhz\": " number(fact["max_khz"], 1000) ", \"load\": " number(fact["load"], 1) ", \"swapped\": " number(fact["swapped"], 1) ","
    print "    \"available\": " (fact["available_kb"] == "" ? "null" : sprintf("%.0f", fact["available_kb"] * 1024)) ", \"boot_id\": " known(fact["boot_id"]) ", \"uptime\": " number(fact["uptime"], 1) ","
    print "    \"before\": " before ", \"missing\": {" lacks "},"
    print "    \"findings\": [" findings "]"
    print "  },"
    print "  \"void\": [" void "],"
    print "  \"details\": {" details "},"
    print "  \"readings\": [\n    " readings "\n  ]"
    print "}"
}
