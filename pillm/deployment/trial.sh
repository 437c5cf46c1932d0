# shellcheck shell=sh
# How a release takes the place of the one that answers; it comes after keeper.sh, whose first lines say how it all hangs together.

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
  id=$1 port=${2-} committed='' judged=''
  exec 7>"$here/lock"
  flock -w 20 7 || { say busy && exit 0; } # one that was broken off needs a moment to leave
  settle
  old=$(answering) before=$(release_at previous)
  [ "$old" = "$id" ] && say same && exit 0
  rm -f -- "$here/stopped"
  [ -n "$old" ] || dismiss # what an earlier first trial may have left
  alive serve || ensure >/dev/null
  trap '' HUP PIPE INT TERM # only now: what a process ignores, all that it starts ignores too
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
    revert) committed='' judged=yes && break ;;
    refuse) judged=yes && break ;;
    *) break ;;
    esac
  done
  if [ -n "$committed" ]; then finish; else undo; fi
}

commit() { # from here on it is the new release that answers, whoever dies
  if said=$(turn_over 2>&1); then
    rm -f -- "$run/$id.trial" "$here/failed"
    sync
    tell watch
    committed=yes
    say committed
  else
    rm -f -- "$here/previous.new" "$here/current.new" "$here/port.new" "$run/front.sock.new"
    say "failed: $(say "$said" | tr '\n' ' ')"
  fi
}

turn_over() { # all links are made before one is turned: a disk that is full, or that nobody may write to, changes nothing
  { [ -z "$old" ] || ready "releases/$old" "$here/previous"; } &&
    ready "releases/$id" "$here/current" && ready "$id.sock" "$run/front.sock" &&
    { [ -n "$old" ] || { say "$port" >"$here/port.new" && sync -- "$here/port.new" && turn "$here/port"; }; } &&
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
    rm -f -- "$run/front.sock" "$here/current" "$here/port"
  fi
  say "$id" >"$here/failed"
  tell stop "$id"
  while alive "$id.keeper"; do sleep 0.1; done
  rm -f -- "$run/$id.trial"
  [ -n "$old" ] || dismiss
  [ -n "$judged" ] && id='' && prune # what was only broken off is taken up where it stopped
  say undone
}

prune() { # kept are the release that answers, the one before, the one on trial, and the files that they name
  kept_release=${1-} kept_file=${2-}
  for folder in "$here"/releases/*; do
    case ${folder##*/} in "$id" | "$kept_release" | "$(release_at current)" | "$(release_at previous)") ;; *) rm -rf -- "$folder" ;; esac
  done
  for file in "$here"/files/*; do
    case $file in *.part) [ -n "$(find "$file" -mmin -60)" ] && continue ;; esac # somebody may be sending it
    [ -n "$kept_file" ] && case ${file##*/} in "$kept_file"*) continue ;; esac
    used=''
    for link in "$here"/releases/*/model.gguf; do [ "$(readlink -f -- "$link")" = "$file" ] && used=yes; done
    [ -n "$used" ] || rm -f -- "$file"
  done
  for file in "$here"/keys/*; do
    grep -qsF -- "keys/${file##*/}" "$here"/releases/*/arguments || rm -f -- "$file"
  done
  for file in "$here"/log/*.log "$here"/log/*.log.old; do
    log=${file##*/}
    [ -d "$here/releases/${log%%.*}" ] || case $log in serve.log | front.log | "$(cat -- "$here/failed" 2>/dev/null)".*) ;; *) rm -f -- "$file" ;; esac
  done
}
