#!/usr/bin/env bash
# What the launchers do on a host that trains; they call this, people need not. It belongs to the
# copy of the code it lies in, and keeps under XCOT_HOME (~/xcot) what it knows of each run.
#
#   setup PYTHON EXTRA        makes the environment .venv of this copy, once for each setup.py
#   start NAME TICKET COMMAND...   starts a command under tmux; a second call with the same ticket
#                             does nothing, as a broken connection is tried anew
#   status NAME               one line: STATE STATUS HOST LAST-LINE-OF-THE-LOG
#   signal NAME               SIGTERM: xcot saves after its step
#   wait NAME SECONDS [kill]  until it has ended; fails, or kills it, if that takes longer
#   logs NAME LINES [follow]
#
# States: none (never started here), running, finished, stopped (on request, saved), interrupted (SIGTERM
# from elsewhere, saved), failed, lost (ended without a word: the host was restarted).
# Files: NAME.log, NAME.status (exit status), NAME.pid, NAME.ticket, NAME.stop, NAME.command.
set -euo pipefail

# Not by way of the link `current`, which moves on to other copies.
code="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
home="${XCOT_HOME:-$HOME/xcot}"
mkdir -p "$home"

fail() {
  echo "$(hostname): $*" >&2
  exit 1
}

alive() { tmux has-session -t "=xcot-$1" 2>/dev/null; }

setup() {
  local python="$1" extra="$2" key environment
  # The runtime of TPU v5e and newer starts much faster with these; JAX warns without them.
  sudo -n sh -c 'echo always >/sys/kernel/mm/transparent_hugepage/enabled' 2>/dev/null || true
  command -v tmux >/dev/null || sudo -n apt-get install -y tmux >/dev/null || fail "tmux is missing"
  key="$({ echo "$python $extra" && cat "$code/setup.py"; } | sha256sum | cut -c1-12)"
  environment="$home/venv-$key"
  if [ ! -f "$environment/complete" ]; then
    # The hosts' own Python is often older than 3.11 and without venv; uv brings another.
    export PATH="$HOME/.local/bin:$PATH"
    command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh >/dev/null 2>&1
    rm -rf "$environment"
    uv venv --quiet --python "$python" "$environment"
    uv pip install --quiet --python "$environment/bin/python" -e "${code}[$extra]"
    touch "$environment/complete"
  fi
  ln -sfn "$environment" "$code/.venv"
  echo "$(hostname): ready, $("$code/.venv/bin/python" --version)"
}

start() {
  local name="$1" ticket="$2"
  shift 2
  if alive "$name"; then
    [ "$(cat "$home/$name.ticket" 2>/dev/null)" = "$ticket" ] && return
    fail "a run $name is under way; stop it first, or name this one otherwise"
  fi
  # After a repeated call for a command that has ended since: it is not started twice.
  [ "$(cat "$home/$name.ticket" 2>/dev/null)" != "$ticket" ] || return 0
  rm -f "$home/$name".{status,pid,stop}
  printf '%s\0' "$@" >"$home/$name.command"
  echo "$ticket" >"$home/$name.ticket"
  # The command goes by a file, not through tmux, which would need quoting of its own.
  tmux new-session -d -s "xcot-$name" \
    env "XCOT_HOME=$home" bash "$code/launch/worker.sh" supervise "$name"
  echo "$(hostname): started; log in $home/$name.log"
}

# Within tmux: runs the command, passes signals on to it, keeps its exit status.
supervise() {
  local name="$1" command=() word status=0
  while IFS= read -r -d '' word; do command+=("$word"); done <"$home/$name.command"
  cd "$code"
  # An installed copy may be of another commit: this one goes first.
  export PYTHONPATH="$code${PYTHONPATH:+:$PYTHONPATH}" PATH="$code/.venv/bin:$PATH"
  exec >>"$home/$name.log" 2>&1
  printf '%s %s: %s\n' "$(date -u +%FT%TZ)" "$(hostname)" "$(printf '%q ' "${command[@]}")"
  "${command[@]}" &
  local child=$!
  echo "$child" >"$home/$name.pid"
  trap 'kill -TERM "$child" 2>/dev/null || true' TERM HUP
  trap 'touch "$home/$name.stop" && kill -TERM "$child" 2>/dev/null || true' INT # Ctrl-C, attached.
  while :; do
    wait "$child" && status=0 || status=$?
    kill -0 "$child" 2>/dev/null || break # Else it was a signal that ended the waiting.
  done
  echo "$(date -u +%FT%TZ) exit status $status"
  echo "$status" >"$home/$name.status.part"
  mv "$home/$name.status.part" "$home/$name.status"
}

status() {
  local name="$1" number="-" state last=""
  if alive "$name"; then
    state=running
  elif [ -f "$home/$name.status" ]; then
    number="$(cat "$home/$name.status")"
    case "$number" in
      0) state=finished ;;
      130) state=stopped ;;
      143) if [ -f "$home/$name.stop" ]; then state=stopped; else state=interrupted; fi ;;
      *) state=failed ;;
    esac
  elif [ -f "$home/$name.ticket" ]; then
    state=lost
  else
    state=none
  fi
  # The last line of a log may be a progress bar, redrawn after carriage returns.
  if [ -f "$home/$name.log" ]; then
    last="$(tail -c 4000 "$home/$name.log" | tr '\r' '\n' | grep -Ev '^[[:space:]]*$|Z exit status [0-9]+$' |
      tail -n 1 | cut -c1-160)" || last="" # grep fails where it finds nothing.
  fi
  echo "$state $number $(hostname) $last"
}

signal() {
  local tries=0
  alive "$1" || return 0
  touch "$home/$1.stop"
  while [ ! -f "$home/$1.pid" ] && ((tries++ < 5)); do sleep 1; done
  kill -TERM "$(cat "$home/$1.pid")" 2>/dev/null || true
}

wait_for() {
  local name="$1" seconds="$2" waited=0
  while alive "$name"; do
    if ((waited >= seconds)); then
      [ "${3:-}" = kill ] || fail "$name is still running after $seconds s"
      kill -KILL "$(cat "$home/$name.pid")" 2>/dev/null || true
    fi
    sleep 1
    waited=$((waited + 1))
  done
  status "$name"
}

logs() {
  [ -f "$home/$1.log" ] || fail "there is no log of $1; has it been started?"
  tail -n "$2" ${3:+-F} "$home/$1.log"
}

case "${1:-}" in
  setup | start | supervise | status | signal | logs) "$@" ;;
  wait) shift && wait_for "$@" ;;
  *) fail "worker.sh: what is '${1:-}'?" ;;
esac
