# shellcheck shell=sh
# What is asked of the keeper from outside; it comes after keeper.sh, whose first lines say how it all hangs together.

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
