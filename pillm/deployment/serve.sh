# shellcheck shell=sh
# What is asked of the keeper from outside; it comes last, after keeper.sh and trial.sh.

start_serving() {
  rm -f -- "$here/stopped"
  ensure
}

ensure() {
  [ -e "$here/stopped" ] && say stopped && return
  mkdir -p -- "$run" "$here/log"
  managed=''
  if systemctl --user show-environment >/dev/null 2>&1; then
    unit || exit 1
    managed=yes
  fi
  if alive serve; then
    tell watch
    tries=0
    until alive front || [ -z "$(release_at current)" ] || [ "$tries" -gt 30 ]; do
      tries=$((tries + 1))
      sleep 0.1
    done
    say serving
    return
  fi
  if [ -n "$managed" ]; then
    systemctl --user reset-failed "pillm-$name.service" 2>/dev/null
    systemctl --user restart "pillm-$name.service" || exit 1
  else
    setsid sh "$here/serve.sh" serve </dev/null >>"$here/log/serve.log" 2>&1 7>&- & # 7: the lock of who deploys
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
  folder=$units
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

prune_alone() {
  exec 7>"$here/lock"
  flock -n 7 || { say busy && exit 0; }
  id=''
  prune "$@"
  say pruned
}

status() {
  current=$(release_at current)
  say "current $current"
  say "previous $(release_at previous)"
  say "answering $(answering)"
  say "port $(cat -- "$here/port" 2>/dev/null)"
  [ -e "$here/stopped" ] && say 'stopped yes'
  [ -e "$here/failed" ] && say "failed $(cat -- "$here/failed")"
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
  rm -f -- "$here/stopped"
  if alive serve; then
    if alive "$id.keeper" || alive "$id.server"; then # a stop for one that does not run yet would reach it after its start
      tell stop "$id"
      while alive "$id.keeper" || alive "$id.server"; do sleep 0.1; done
    fi
    rm -f -- "$run/$id.given-up"
    settle
  fi
  ensure >/dev/null
  say restarted
}

dismiss() { # the keeper ends, and nothing starts it again
  if [ -e "$units/pillm-$name.service" ]; then
    systemctl --user disable --quiet --now "pillm-$name.service" 2>/dev/null
    rm -f -- "$units/pillm-$name.service"
    systemctl --user daemon-reload 2>/dev/null
  fi
  tell quit
  while alive serve; do sleep 0.1; done
}

stop() {
  [ -z "$(release_at current)" ] || say yes >"$here/stopped"
  dismiss
  say ended
}

remove() {
  case $here in */.local/share/pillm/served/?*) ;; *) say "$here is no place for a model" >&2 && exit 1 ;; esac
  exec 7>"$here/lock"
  flock -n 7 || { say busy && exit 0; }
  dismiss
  rm -rf -- "$here" || exit 1
  say removed
}

main() {
  verb=${1-}
  units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
  [ "$#" -gt 0 ] && shift
  case $verb in
  serve | ensure | trial | status | restart | stop | remove) "$verb" "$@" ;;
  start) start_serving ;;
  prune) prune_alone "$@" ;;
  *) say "usage: serve.sh ensure | start | trial ID PORT | prune ID FILE | status | restart | stop | remove" >&2 && exit 2 ;;
  esac
}

main "$@"
