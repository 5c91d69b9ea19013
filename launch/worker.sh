#!/usr/bin/env bash
# What tpu_vm.py does on each worker, in the checkout that its setup left there:
#   bash launch/worker.sh start COMMAND...   runs it detached, through until_done.py
#   bash launch/worker.sh stop               SIGTERM: it saves, and is not run again
#   bash launch/worker.sh logs LINES [-f]    the end of what it printed; -f follows it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/setup.sh # fail
log=runs/worker.log
pid_file=runs/worker.pid

# Not by the number alone: after a reboot it may be another program's.
running() {
  [ -s "$pid_file" ] && grep -qs until_done "/proc/$(cat "$pid_file")/cmdline"
}

start() {
  [ $# -gt 0 ] || fail "worker.sh start: no command"
  if running; then
    fail "a run is going on, process $(cat "$pid_file"); tpu_vm.py stop ends it"
  fi
  mkdir -p runs
  # A session of its own, nothing of the ssh connection open: it outlives the login.
  PYTHONUNBUFFERED=1 setsid nohup python3 launch/until_done.py -- "$@" \
    >>"$log" 2>&1 </dev/null &
  echo $! >"$pid_file"
  echo "kdjax: started on $(hostname), process $!, log in $PWD/$log"
}

stop() {
  if ! running; then
    echo "kdjax: nothing runs on $(hostname)"
    return
  fi
  kill -TERM "$(cat "$pid_file")"
  for _ in $(seq 600); do
    running || break
    sleep 0.1
  done
  if running; then
    echo "kdjax: process $(cat "$pid_file") still runs, a minute after SIGTERM" >&2
    exit 1
  fi
  echo "kdjax: stopped on $(hostname)"
}

logs() {
  [ -e "$log" ] || fail "no run was started here: there is no $PWD/$log"
  tail -n "$1" "${@:2}" "$log"
}

case "${1-}" in
  start | stop | logs) "$@" ;;
  *) fail "worker.sh: expected start, stop or logs, found '${1-}'" ;;
esac
