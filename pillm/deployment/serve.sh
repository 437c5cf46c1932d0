# shellcheck shell=sh
# What is asked of the keeper from outside; it comes after keeper.sh, whose first lines say how it all hangs together.

ensure() {
  mkdir -p -- "$run" "$here/log"
  managed=''
  if systemctl --user show-environment >/dev/null 2>&1; then
    unit || exit 1
    managed=yes
  fi
  if alive serve; then
    say serving
    return
  fi
  if [ -n "$managed" ]; then
    systemctl --user reset-failed "pillm-$name.service" 2>/dev/null
    systemctl --user restart "pillm-$name.service" || exit 1
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
}

unit() { # what a user's unit may have: the rest of a sandbox is for the system's own
  folder=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
  mkdir -p -- "$folder" || return 1
  quoted=$(say "$here" | sed 's/[\\"]/\\&/g; s/%/%%/g')
  script=$(say "$quoted/serve.sh" | sed 's/\$/$$/g')
  # a file system of its own is what some kernels and managers do not give to a user's unit: it is tried
  own='' private='PrivateUsers=yes ProtectSystem=strict ProtectHome=read-only ProtectKernelTunables=yes ProtectControlGroups=yes'
  case $here in /tmp/* | /var/tmp/*) ;; *) private="$private PrivateTmp=yes" ;; esac
  # shellcheck disable=SC2046,SC2086 # a word each
  systemd-run --user --quiet --wait $(printf -- '-p %s ' $private) true >/dev/null 2>&1 </dev/null &&
    own=$(printf '%s\n' $private "ReadWritePaths=\"$quoted\"")
  file=$folder/pillm-$name.service
  cat >"$file.new" <<END || return 1
[Unit]
Description=pillm: the model served as $name
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
ExecStart=/bin/sh "$script" serve
Restart=on-failure
RestartSec=5
TimeoutStopSec=90
UMask=0077

# where the kernel counts memory for users; serve.sh status says whether it does. One server that is killed for want of memory
# does not take the other with it, nor the front
MemoryMax=85%
OOMPolicy=continue
OOMScoreAdjust=500
TasksMax=256
LimitCORE=0

NoNewPrivileges=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
$own

[Install]
WantedBy=default.target
END
  lingers || loginctl enable-linger >/dev/null 2>&1 # where it is refused, status says so
  if cmp -s -- "$file.new" "$file"; then
    rm -f -- "$file.new"
  else
    mv -f -- "$file.new" "$file" && systemctl --user daemon-reload || return 1
  fi
  systemctl --user enable --quiet "pillm-$name.service"
}

lingers() { loginctl show-user "$(id -un)" --property=Linger --value 2>/dev/null | grep -qx yes; }

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
  printf '' 2>/dev/null >"$run/$id.trial" || { say unwritable && exit 0; }
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
  if said=$(turn_over 2>&1); then
    rm -f -- "$run/$id.trial"
    sync
    committed=yes
    say committed
  else
    rm -f -- "$here/previous.new" "$here/current.new" "$run/front.sock.new"
    say "failed: $(say "$said" | tr '\n' ' ')"
  fi
}

turn_over() { # all links are made before one is turned: a disk that is full, or that nobody may write to, changes nothing
  { [ -z "$old" ] || ready "releases/$old" "$here/previous"; } &&
    ready "releases/$id" "$here/current" && ready "$id.sock" "$run/front.sock" &&
    { [ -z "$old" ] || turn "$here/previous"; } &&
    turn "$here/current" && turn "$run/front.sock"
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
    [ "$(answering)" = "$old" ] || point "$old.sock" "$run/front.sock"
    [ "$(release_at current)" = "$old" ] || point "releases/$old" "$here/current"
    if [ -z "$before" ]; then
      rm -f -- "$here/previous"
    elif [ "$(release_at previous)" != "$before" ]; then
      point "releases/$before" "$here/previous"
    fi
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
  for file in "$here"/keys/*; do
    grep -qsF -- "keys/${file##*/}" "$here"/releases/*/arguments || rm -f -- "$file"
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
  if [ -n "$current" ]; then
    if alive "$current.server"; then
      say "server $pid"
      say "memory_kb $(sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null)"
      say "up_seconds $(($(uptime) - since / $(getconf CLK_TCK)))"
      say "memory_max $(memory_max "$pid")"
    fi
    [ -e "$run/$current.exit" ] && say "exit $(cat -- "$run/$current.exit")"
    [ -e "$run/$current.deaths" ] && say "deaths $(cat -- "$run/$current.deaths")"
    [ -e "$run/$current.given-up" ] && say 'given_up yes'
  fi
  if systemctl --user is-active "pillm-$name.service" 2>/dev/null | grep -qx active; then
    say 'by systemd'
    lingers || say "lingers_not $(id -un)"
  else
    say 'by itself'
  fi
}

memory_max() { # the limit that holds for a process, in bytes, `max` for none, nothing where the kernel does not count
  cat -- "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")/memory.max" 2>/dev/null
}

restart() {
  exec 7>"$here/lock"
  flock -n 7 || { say busy && exit 0; }
  id=$(release_at current)
  [ -n "$id" ] || { say nothing && exit 0; }
  if alive "$id.keeper"; then # a stop for one that does not run yet would reach it after its start
    tell stop "$id"
    while alive "$id.keeper"; do sleep 0.1; done
  fi
  settle
  say restarted
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
