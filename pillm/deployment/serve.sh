#!/bin/sh
# Serves one model on this machine, for as long as it is up, and lets another take its place without a gap.
#
# A front owns the address, 127.0.0.1 at the port that the file `port` names, and hands every connection to the socket that the
# link run/front.sock leads to. Behind it stands one llama-server on a socket of its own, two while one replaces the other.
# releases/ID is what was deployed: `arguments`, the server's command line, one word a line, and all that it names.
# `current` leads to the release that is served, `previous` to the one before. run/ holds what is gone with a restart.
#
#   serve.sh ensure      start serving unless that is done already
#   serve.sh trial ID    start a release beside the current one; then words on standard input: look, commit, revert, finish
#   serve.sh status      say how it stands
#   serve.sh restart     start the current release anew
#   serve.sh stop        serve nothing any more
#
# When the standard input of a trial ends before `commit`, the release that was current still answers; after it, the new one does.
set -u
umask 077
export LC_ALL=C GGML_NO_BACKTRACE=1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
name=${here##*/}
run=$here/run
patience=60 # seconds for which the old server may finish what it is answering

say() { printf '%s\n' "$*" 2>/dev/null; }

# ---- processes: a pid counts only together with the moment it began, or after a restart it would name a stranger
began() { sed -n '/) Z /!s/^.*) //p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; } # nothing for one that is dead, reaped or not
record() { say "$2 $(began "$2")" >"$run/$1"; }
alive() {
  pid='' since=''
  read -r pid since 2>/dev/null <"$run/$1" || return 1
  [ -n "$since" ] && [ "$(began "$pid")" = "$since" ]
}
end() { if alive "$1"; then kill "-$2" "$pid" 2>/dev/null; fi; }

# ---- links: always replaced by a rename, so that there is no moment without one
point() { ln -sfn -- "$1" "$2.new" && mv -fT -- "$2.new" "$2"; }
release_at() { link=$(readlink -- "$here/$1" 2>/dev/null) && say "${link##*/}"; }
answering() { link=$(readlink -- "$run/front.sock" 2>/dev/null) && say "${link%.sock}"; }
tell() { alive serve && [ -p "$run/control" ] && say "$*" >"$run/control"; }

# ---- the keeper: one process that owns the front and the servers
serve() {
  mkdir -p -- "$run" "$here/log"
  exec 9>"$run/serving"
  flock -n 9 || exit 0
  for file in "$run"/*.keeper "$run"/*.server "$run/front.keeper" "$run/front"; do end "${file##*/}" KILL; done
  rm -f -- "$run"/*.keeper "$run"/*.server "$run"/*.trial "$run"/*.exit "$run"/*.sock "$run/control"
  mkfifo -- "$run/control" || exit 1
  exec 8<>"$run/control"
  trap leave TERM INT
  front 8>&- 9>&- &
  record front.keeper $!
  id=$(release_at current) && [ -n "$id" ] && point "$id.sock" "$run/front.sock" && start "$id"
  record serve $$
  while :; do
    verb='' id=''
    read -r verb id <&8 || continue
    case $verb in
    start) start "$id" ;;
    stop) end "$id.keeper" TERM ;;
    quit) leave ;;
    esac
  done
}

leave() {
  trap '' TERM INT
  for file in "$run"/*.keeper; do end "${file##*/}" TERM; done
  wait
  rm -f -- "$run/serve" "$run/control"
  exit 0
}

start() {
  alive "$1.keeper" && return
  keep "$1" 8>&- 9>&- &
  record "$1.keeper" $!
}

front() {
  port=$(cat -- "$here/port") child=''
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
    sleep 0.2 &
    wait $!
  done
}

keep() { # a server that dies is started anew, ever more slowly; one on trial is not
  id=$1 child='' nap='' pause=1
  trap 'put_down; exit 0' TERM
  cd -- "$here/releases/$id" || exit 1
  set --
  while IFS= read -r word; do set -- "$@" "$word"; done <arguments
  while :; do
    rm -f -- "$run/$id.sock"
    [ -f "$here/log/$id.log" ] && [ "$(wc -c <"$here/log/$id.log")" -gt 4000000 ] && mv -f -- "$here/log/$id.log" "$here/log/$id.log.old"
    at=$(date +%s)
    "$@" </dev/null >>"$here/log/$id.log" 2>&1 &
    child=$!
    record "$id.server" "$child"
    wait "$child"
    say "$?" >"$run/$id.exit"
    child=''
    rm -f -- "$run/$id.server"
    [ -e "$run/$id.trial" ] && break
    [ $(($(date +%s) - at)) -gt 60 ] && pause=1
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
  rm -f -- "$run/$id.server" "$run/$id.keeper" "$run/$id.sock" "$run/$id.exit"
}

# ---- what is asked from outside
ensure() {
  mkdir -p -- "$run" "$here/log"
  if alive serve; then
    say serving
  else
    if systemctl --user show-environment >/dev/null 2>&1; then
      unit || exit 1
    else
      setsid sh "$here/serve.sh" serve </dev/null >>"$here/log/serve.log" 2>&1 &
    fi
    tries=0
    until alive serve; do
      tries=$((tries + 1))
      [ "$tries" -gt 100 ] && say 'the keeper did not start' >&2 && exit 1
      sleep 0.1
    done
    say started
  fi
}

unit() {
  folder=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
  mkdir -p -- "$folder"
  escaped=$(say "$here/serve.sh" | sed 's/[\\"]/\\&/g; s/%/%%/g; s/\$/$$/g')
  cat >"$folder/pillm-$name.service.new" <<END
[Unit]
Description=pillm: the model served as $name
[Service]
ExecStart=/bin/sh "$escaped" serve
Restart=on-failure
RestartSec=2
TimeoutStopSec=90
[Install]
WantedBy=default.target
END
  mv -f -- "$folder/pillm-$name.service.new" "$folder/pillm-$name.service"
  systemctl --user daemon-reload && systemctl --user enable --quiet "pillm-$name.service" &&
    systemctl --user restart "pillm-$name.service" || return 1
  loginctl enable-linger >/dev/null 2>&1 || say 'lingering could not be enabled: it is served only while somebody is logged in' >&2
}

settle() { # what a deployment that died left: the current release answers, and nothing else runs
  rm -f -- "$run"/*.trial
  kept=$(release_at current)
  if [ -n "$kept" ]; then
    [ "$(answering)" = "$kept" ] || point "$kept.sock" "$run/front.sock"
    tell start "$kept"
  else
    rm -f -- "$run/front.sock"
  fi
  for file in "$run"/*.keeper; do
    other=${file##*/}
    other=${other%.keeper}
    case $other in "$kept" | front | '*') ;; *) tell stop "$other" ;; esac
  done
}

busy() { # many connections may be open to a socket; each is a line of its own, as the server named it
  grep -F -- "/$1.sock" /proc/net/unix | grep -q ' 0001 03 '
}

trial() {
  id=$1 committed=''
  exec 7>"$here/lock"
  flock -w 5 7 || { say busy && exit 0; } # one that was broken off needs a moment to leave
  trap '' HUP PIPE INT TERM
  settle
  old=$(answering) before=$(release_at previous)
  [ "$old" = "$id" ] && say same && exit 0
  while alive "$id.keeper"; do sleep 0.1; done
  : >"$run/$id.trial"
  rm -f -- "$run/$id.exit"
  prune
  tell start "$id" || { say stopped && exit 0; }
  say started
  while read -r word; do
    case $word in
    look)
      if [ -e "$run/$id.exit" ]; then say "exit $(cat -- "$run/$id.exit")"; elif [ -S "$run/$id.sock" ]; then say listens; else say waits; fi
      ;;
    commit) commit ;;
    revert) committed='' && break ;;
    *) break ;;
    esac
  done
  if [ -n "$committed" ]; then finish; else undo; fi
}

commit() { # from here on it is the new release that answers, whoever dies
  [ -n "$old" ] && point "releases/$old" "$here/previous"
  point "releases/$id" "$here/current"
  point "$id.sock" "$run/front.sock"
  rm -f -- "$run/$id.trial"
  sync
  committed=yes
  say committed
}

finish() { # the old server ends what it has begun, and then ends
  tenths=0
  while [ -n "$old" ] && busy "$old" && [ "$tenths" -lt $((patience * 10)) ]; do
    sleep 0.1
    tenths=$((tenths + 1))
  done
  [ -n "$old" ] && tell stop "$old"
  prune
  say stopped
}

undo() {
  if [ -n "$old" ]; then
    point "$old.sock" "$run/front.sock"
    [ "$(release_at current)" = "$old" ] || point "releases/$old" "$here/current"
    if [ -n "$before" ]; then point "releases/$before" "$here/previous"; else rm -f -- "$here/previous"; fi
  else
    rm -f -- "$run/front.sock" "$here/current"
  fi
  tell stop "$id"
  rm -f -- "$run/$id.trial"
  say undone
}

prune() { # kept are the release that answers, the one before, the one on trial, and the files that they name
  for folder in "$here"/releases/*; do
    case ${folder##*/} in "$id" | "$(release_at current)" | "$(release_at previous)") ;; *) rm -rf -- "$folder" ;; esac
  done
  for file in "$here"/files/*; do
    case $file in *.part) [ -n "$(find "$file" -mmin -60)" ] && continue ;; esac # somebody may be sending it
    used=''
    for link in "$here"/releases/*/model.gguf; do [ "$(readlink -f -- "$link")" = "$file" ] && used=yes; done
    [ -n "$used" ] || rm -f -- "$file"
  done
  for file in "$here"/log/*.log "$here"/log/*.log.old; do
    log=${file##*/}
    [ -d "$here/releases/${log%%.*}" ] || case $log in serve.log | front.log) ;; *) rm -f -- "$file" ;; esac
  done
}

status() {
  current=$(release_at current)
  say "current $current"
  say "previous $(release_at previous)"
  say "answering $(answering)"
  say "port $(cat -- "$here/port" 2>/dev/null)"
  alive serve && say "keeper $pid"
  alive front && say "front $pid"
  if [ -n "$current" ] && alive "$current.server"; then
    say "server $pid"
    say "memory_kb $(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null)"
  fi
  [ -n "$current" ] && [ -e "$run/$current.exit" ] && say "exit $(cat -- "$run/$current.exit")"
  say "by $(systemctl --user is-active "pillm-$name.service" 2>/dev/null | grep -qx active && echo systemd || echo itself)"
}

restart() {
  exec 7>"$here/lock"
  flock -n 7 || { say busy && exit 0; }
  settle
  id=$(release_at current)
  [ -n "$id" ] || { say nothing && exit 0; }
  tell stop "$id"
  while alive "$id.keeper"; do sleep 0.1; done
  tell start "$id" && say restarted
}

stop() {
  if systemctl --user is-active --quiet "pillm-$name.service" 2>/dev/null; then
    systemctl --user disable --quiet --now "pillm-$name.service"
  else
    tell quit
  fi
  while alive serve; do sleep 0.1; done
  say ended
}

main() {
  verb=${1-}
  [ "$#" -gt 0 ] && shift
  case $verb in
  serve | ensure | trial | status | restart | stop) "$verb" "$@" ;;
  *) say "usage: serve.sh ensure | trial ID | status | restart | stop" >&2 && exit 2 ;;
  esac
}

main "$@"
