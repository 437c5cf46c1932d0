#!/bin/sh
# Serves one model on this machine, for as long as it is up, and lets another take its place without a gap.
#
# A front owns the address, 127.0.0.1 at the port that the file `port` names, and hands every connection to the socket that the
# link run/front.sock leads to. Behind it stands one llama-server on a socket of its own, two while one replaces the other.
# releases/ID is what was deployed: `arguments`, the server's command line, one word a line, and all that it names.
# `current` leads to the release that is served, `previous` to the one before. run/ holds what is gone with a restart.
# Without `current` nothing listens: `port` is written when the first release takes its place, and a keeper ends that has none.
# keys/ID are API keys, one a line; a release's `arguments` name theirs.
#
# This file has the processes that serve, trial.sh how one release takes the place of another, serve.sh what else is asked of
# them. A board gets the three as one file, serve.sh, which one rename puts in place: there is no moment with an old part and
# a new one.
#
#   serve.sh ensure          start serving, unless that is done already or somebody stopped it
#   serve.sh start           start serving, whoever stopped it
#   serve.sh trial ID PORT   start a release beside the current one; then words on standard input: look, commit, revert, refuse,
#                            finish. PORT is taken where there is no current one
#   serve.sh prune ID FILE   remove what no release needs, but not that release and the files whose names begin so
#   serve.sh status          say how it stands
#   serve.sh restart         start the current release anew
#   serve.sh stop            serve nothing any more, until `start`
#   serve.sh remove          serve nothing any more, and remove all of it
#
# When the standard input of a trial ends before `commit`, the release that was current still answers; after it, the new one does.
set -u
umask 077
export LC_ALL=C GGML_NO_BACKTRACE=1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
name=${here##*/}
run=$here/run
patience=60 # seconds for which the old server may finish what it is answering
most_deaths=10 # in a row, each within a minute of its start, after which a server is given up; this takes some four minutes
every=2        # seconds between two looks at what must run
most_idle=30   # such looks without a release to serve, after which the keeper ends

say() { printf '%s\n' "$*" 2>/dev/null; }

# ---- processes: a pid counts only together with the moment it began, or after a restart it would name a stranger
began() { # nothing for one that is dead, reaped or not; no program is started for it, since it is asked all the time
  read -r told 2>/dev/null <"/proc/$1/stat" || return
  told=${told##*) }
  case $told in Z* | X*) return ;; esac
  # shellcheck disable=SC2086 # a word each
  set -- $told
  say "${20-}"
}
uptime() { cut -d. -f1 /proc/uptime; } # a board may have no clock that can be trusted
record() { say "$2 $(began "$2")" >"$run/$1"; }
alive() {
  pid='' since=''
  read -r pid since 2>/dev/null <"$run/$1" || return 1
  [ -n "$since" ] && [ "$(began "$pid")" = "$since" ]
}
end() { if alive "$1"; then kill "-$2" "$pid" 2>/dev/null; fi; }

# ---- links: always replaced by a rename, so that there is no moment without one
ready() { ln -sfn -- "$1" "$2.new"; }
turn() { mv -fT -- "$1.new" "$1"; }
point() { ready "$1" "$2" && turn "$2"; }
release_at() { link=$(readlink -- "$here/$1" 2>/dev/null) && say "${link##*/}"; }
answering() { link=$(readlink -- "$run/front.sock" 2>/dev/null) && say "${link%.sock}"; }
tell() { alive serve && [ -p "$run/control" ] && say "$*" >"$run/control"; }

# ---- the keeper: one process that owns the front and the servers
serve() {
  mkdir -p -- "$run" "$here/log"
  exec 9>"$run/serving"
  flock -n 9 || exit 0
  for file in "$run"/*.keeper "$run"/*.server "$run/front.keeper" "$run/front" "$run/ticker"; do end "${file##*/}" KILL; done
  rm -f -- "$run"/*.keeper "$run"/*.server "$run"/*.trial "$run"/*.exit "$run"/*.deaths "$run"/*.given-up "$run"/*.sock "$run/control"
  mkfifo -- "$run/control" || exit 1
  exec 8<>"$run/control"
  trap leave TERM INT
  idle=0
  id=$(release_at current) && [ -n "$id" ] && point "$id.sock" "$run/front.sock"
  watch
  record serve $$
  { exec 9>&-; tick; } & # a redirection of a function would keep the lock open, for as long as it runs
  record ticker $!
  while :; do
    verb='' id=''
    read -r verb id <&8 || continue
    case $verb in
    start) start "$id" ;;
    stop) if alive "$id.keeper"; then end "$id.keeper" TERM; else end "$id.server" KILL; fi ;;
    watch) watch ;;
    quit) leave ;;
    esac
  done
}

tick() {
  trap 'kill $!; exit 0' TERM
  while :; do
    sleep "$every" &
    wait $!
    alive serve || exit
    say watch >&8
  done
}

watch() { # whoever killed a part of it: what must run runs again
  id=$(release_at current)
  if [ -z "$id" ]; then # a first trial is under way, or nobody is left who wants one
    idle=$((idle + 1))
    [ "$idle" -gt "$most_idle" ] && flock -n "$here/lock" true && leave
    return
  fi
  idle=0
  if ! alive front.keeper; then
    end front KILL
    { exec 8>&- 9>&-; front; } &
    record front.keeper $!
  fi
  [ -e "$run/$id.given-up" ] || start "$id"
}

leave() {
  trap '' TERM INT
  end ticker TERM
  for file in "$run"/*.keeper; do end "${file##*/}" TERM; done
  wait
  rm -f -- "$run/serve" "$run/ticker" "$run/control"
  exit 0
}

start() {
  alive "$1.keeper" && return
  end "$1.server" KILL # one whose keeper was killed
  { exec 8>&- 9>&-; keep "$1"; } &
  record "$1.keeper" $!
}

front() {
  port=$(cat -- "$here/port") child='' failures=0 pause=0.2
  trap 'kill "$child"; exit 0' TERM
  for folder in /usr/lib/systemd /lib/systemd; do
    [ -x "$folder/systemd-socket-proxyd" ] && proxy=$folder/systemd-socket-proxyd && break
  done
  while :; do
    systemd-socket-activate -l "127.0.0.1:$port" -- "$proxy" --connections-max=512 "$run/front.sock" \
      </dev/null >"$here/log/front.log" 2>&1 &
    child=$!
    record front "$child"
    wait "$child"
    failures=$((failures + 1))
    [ "$failures" -gt 20 ] && pause=5 # another program has the port
    sleep "$pause" &
    wait $!
  done
}

keep() { # a server that dies is started anew, ever more slowly, and given up in the end; one on trial is not
  id=$1 child='' nap='' pause=1 deaths=0
  rm -f -- "$run/$id.deaths" "$run/$id.given-up"
  trap 'put_down; exit 0' TERM
  cd -- "$here/releases/$id" || exit 1
  set --
  while IFS= read -r word; do set -- "$@" "$word"; done <arguments
  while :; do
    rm -f -- "$run/$id.sock"
    [ -f "$here/log/$id.log" ] && [ "$(wc -c <"$here/log/$id.log")" -gt 4000000 ] && mv -f -- "$here/log/$id.log" "$here/log/$id.log.old"
    at=$(uptime)
    "$@" </dev/null >>"$here/log/$id.log" 2>&1 &
    child=$!
    record "$id.server" "$child"
    wait "$child"
    say "$?" >"$run/$id.exit"
    child=''
    rm -f -- "$run/$id.server"
    [ -e "$run/$id.trial" ] && break
    [ $(($(uptime) - at)) -gt 60 ] && pause=1 deaths=0
    deaths=$((deaths + 1))
    say "$deaths" >"$run/$id.deaths"
    [ "$deaths" -ge "$most_deaths" ] && say yes >"$run/$id.given-up" && break
    sleep "$pause" &
    nap=$!
    wait "$nap"
    [ "$pause" -lt 30 ] && pause=$((pause * 2))
  done
  rm -f -- "$run/$id.keeper" "$run/$id.sock"
}

put_down() {
  trap '' TERM
  [ -n "$nap" ] && kill "$nap" 2>/dev/null
  if [ -n "$child" ]; then
    kill -TERM "$child" 2>/dev/null
    {
      tenths=0
      while [ "$tenths" -lt 100 ]; do sleep 0.1 && tenths=$((tenths + 1)); done
      kill -KILL "$child"
    } 2>/dev/null &
    killer=$!
    wait "$child"
    kill -KILL "$killer" 2>/dev/null
  fi
  rm -f -- "$run/$id.server" "$run/$id.keeper" "$run/$id.sock" "$run/$id.exit" "$run/$id.deaths"
}
