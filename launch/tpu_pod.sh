#!/usr/bin/env bash
# TPU slices, from creation to deletion:
#   launch/tpu_pod.sh create --tpu=NAME --project=P --zone=Z --type=v5litepod-64 --spot
#   launch/tpu_pod.sh run --tpu=NAME ... -- xcot train --config=FILE --workdir=gs://BUCKET/RUN
#
#   create     asks for the slice, and waits until it is ready
#   setup      copies the code of the last commit to every worker and installs it
#   run        the same, then starts what follows `--` on every worker under tmux
#   status     how the slice and the run on each worker stand
#   logs       the run's log on one worker
#   stop       SIGTERM to the run on every worker: it saves after its step; waits for that
#   delete     deletes the slice, after a question
#   babysit    run that goes on: creates the slice if there is none, makes a preempted one anew, starts the
#              command again, which resumes from its workdir; ends with the run
#
# Settings, by flag or environment (--tpu=NAME or XCOT_TPU=NAME; the flag wins):
#   --tpu --project --zone   which slice
#   --type       v4-128, v5litepod-64, v5p-128, v6e-64, ...
#   --runtime    software version of the TPU; by default the one of its generation
#   --spot       cheaper, and may be preempted
#   --queued     by a queued resource, which waits for capacity
#   --slices=N   that many slices of the type in one run (multislice; always queued)
#   --create-flags="..."   more for `gcloud ... create`, such as --network=N --reserved
#   --ssh-flags="..."      more for `gcloud ... ssh` and `scp`, such as --internal-ip
#   --run=NAME   name of the run (train): of its log ~/xcot/NAME.log and its tmux session xcot-NAME
#   --python=3.12          Python of the workers
#   --allow-dirty          takes uncommitted changes and new files along
#   --local-workdir        accepts a --workdir that is not gs://: it is a mount that all workers share
#   --worker=0 --slice=0 --tail=100 --follow   which log, and how much of it
#   --wait=600 --kill      seconds that stop waits; then the run is killed, and loses what is not saved
#   --interval=60 --retries=3   babysit: seconds between looks; restarts of a run that fails by itself
#   --yes        no question
#   --dry-run    prints every gcloud call, and makes none
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/lib.sh
source "$here/lib.sh"
# shellcheck source=launch/tpu_slice.sh
source "$here/tpu_slice.sh"

TPU="${XCOT_TPU:-}" PROJECT="${XCOT_PROJECT:-}" ZONE="${XCOT_ZONE:-}"
TYPE="${XCOT_TYPE:-}" RUNTIME="${XCOT_RUNTIME:-}" SLICES="${XCOT_SLICES:-1}"
SPOT="${XCOT_SPOT:-}" QUEUED="${XCOT_QUEUED:-}"
CREATE_FLAGS="${XCOT_CREATE_FLAGS:-}" SSH_FLAGS="${XCOT_SSH_FLAGS:-}"
RUN="${XCOT_RUN:-train}" PYTHON="${XCOT_PYTHON:-3.12}"
ALLOW_DIRTY="${XCOT_ALLOW_DIRTY:-}" LOCAL_WORKDIR="${XCOT_LOCAL_WORKDIR:-}"
WORKER="${XCOT_WORKER:-0}" SLICE="${XCOT_SLICE:-0}" TAIL="${XCOT_TAIL:-100}" FOLLOW="${XCOT_FOLLOW:-}"
WAIT="${XCOT_WAIT:-600}" KILL="${XCOT_KILL:-}"
INTERVAL="${XCOT_INTERVAL:-60}" RETRIES="${XCOT_RETRIES:-3}"
YES="${XCOT_YES:-}" DRY_RUN="${XCOT_DRY_RUN:-}"

create() {
  local state
  [ -n "$TYPE" ] || die "--type is missing, such as --type=v5litepod-64"
  assumed=ABSENT
  state="$(slice_state)"
  [ "$state" = ABSENT ] || die "$TPU is there already ($state); delete it first, or choose another --tpu"
  request_slice
  wait_until_ready
}

# The last commit as an archive named by it; with --allow-dirty the working tree, also by its content.
pack() {
  local changes commit tree=HEAD
  cd "$here/.."
  commit="$(git rev-parse --short=12 HEAD)" || die "the launcher copies commits: it needs git and a clone"
  code="$commit"
  changes="$(git status --short)"
  if [ -n "$changes" ]; then
    on "$ALLOW_DIRTY" || die "uncommitted changes; commit them, or take them along with --allow-dirty:
$(head -n 10 <<<"$changes")"
    # By an index of its own: the user's stays as it is.
    tree="$(
      export GIT_INDEX_FILE="$scratch/index"
      git read-tree HEAD && git add --all && git write-tree
    )"
    code="$commit-${tree:0:8}"
  fi
  archive="$scratch/xcot-$code.tar.gz"
  if on "$DRY_RUN"; then archive="${TMPDIR:-/tmp}/xcot-$code.tar.gz"; fi
  call git archive --format=tar.gz "--output=$archive" "$tree"
}

ship() {
  local node="$1" flags=()
  # shellcheck disable=SC2016  # It is the worker's shell that expands these.
  local unpack='set -e; mkdir -p xcot/code
if [ ! -d "xcot/code/$1" ]; then
  rm -rf "xcot/code/$1.part"; mkdir "xcot/code/$1.part"
  tar -xzf "xcot-$1.tar.gz" -C "xcot/code/$1.part"; mv "xcot/code/$1.part" "xcot/code/$1"
fi
rm -f "xcot-$1.tar.gz"; ln -sfn "code/$1" xcot/current'
  read -ra flags <<<"$SSH_FLAGS"
  tpus tpu-vm scp "$archive" "$node:" --worker=all ${flags[@]+"${flags[@]}"} &&
    tpus tpu-vm ssh "$node" --worker=all ${flags[@]+"${flags[@]}"} \
      "--command=$(quoted bash -c "$unpack" unpack "$code")"
}

install_code() {
  on_nodes ship && on_nodes remote all setup "$PYTHON" tpu
}

# One ticket for a start: worker.sh knows by it a call that gcloud repeats.
start_run() {
  local ticket
  ticket="$(date +%s)-$$-$RANDOM"
  install_code && on_nodes remote all start "$RUN" "$ticket" "${command[@]}"
}

check_ready() {
  local state
  assumed=READY
  state="$(slice_state)"
  [ "$state" = READY ] || die "$TPU is ${state#WAITING-}; launch/tpu_pod.sh create makes it"
}

check_command() {
  ((${#command[@]})) ||
    die "what shall run? It stands behind --: -- xcot train --config=FILE --workdir=gs://BUCKET/RUN"
}

# check_workdir REASON: a local one is refused, for REASON.
check_workdir() {
  local workdir
  workdir="$(argument_of workdir)"
  case "$workdir" in "" | gs://*) return ;; esac
  on "$LOCAL_WORKDIR" ||
    die "--workdir=$workdir: $1. Take gs://BUCKET/PATH; \
or, if it is a mount that all workers share, say --local-workdir"
}

# The worst state of the run on any worker, and its exit status.
run_state() {
  local lines state
  lines="$(on_nodes remote all status "$RUN")" || { echo unreachable && return; }
  for state in failed interrupted lost; do
    grep -m 1 -Eo "^$state [0-9-]+" <<<"$lines" && return
  done
  # Some do not know of it, others do: one of the hosts was made anew.
  if grep -q '^none ' <<<"$lines" && grep -Eq '^(running|stopped|finished) ' <<<"$lines"; then
    echo "lost -" && return
  fi
  for state in running none stopped finished; do
    grep -m 1 -Eo "^$state [0-9-]+" <<<"$lines" && return
  done
  echo unreachable
}

run() {
  local workers slice_workers state
  check_command
  check_ready
  if ! on "$DRY_RUN"; then
    slice_workers="$(described tpu-vm "$(nodes | head -n 1)" 'value(networkEndpoints.len())')"
    workers=$((slice_workers * SLICES))
    ((workers == 1)) || check_workdir "each of the $workers workers has a disk of its own"
  fi
  pack
  if on "$DRY_RUN"; then
    on_nodes remote all status "$RUN"
  else
    state="$(on_nodes remote all status "$RUN")"
    if grep -q '^running ' <<<"$state"; then
      die "a run $RUN is under way on $TPU; stop it first, or name this one otherwise (--run=NAME)"
    fi
  fi
  start_run ||
    die "not started on every worker; once the cause is mended: launch/tpu_pod.sh stop, then run again"
  on "$DRY_RUN" || note "started $RUN; launch/tpu_pod.sh status and logs --follow show how it goes"
}

setup() {
  check_ready
  pack
  install_code
}

status() {
  local state
  assumed=READY
  state="$(slice_state)"
  on "$DRY_RUN" || echo "$TPU: ${state#WAITING-}"
  if [ "$state" = READY ]; then on_nodes remote all status "$RUN"; fi
}

logs() {
  local node
  ((SLICE < SLICES)) || die "--slice=$SLICE: there are $SLICES, counted from 0"
  node="$(nodes | sed -n "$((SLICE + 1))p")"
  if on "$FOLLOW"; then set -- follow; else set --; fi
  remote "$node" "$WORKER" logs "$RUN" "$TAIL" "$@"
}

# stop_run SECONDS [kill]: all get the signal before any is waited for.
stop_run() {
  on_nodes remote all signal "$RUN" && on_nodes remote all wait "$RUN" "$@"
}

stop() {
  check_ready
  if on "$KILL"; then set -- kill; else set --; fi
  stop_run "$WAIT" "$@" ||
    die "not all have ended; --wait=SECONDS waits longer, --kill ends them without saving"
}

delete() {
  local state answer=""
  assumed=READY
  QUEUED=""
  state="$(described queued-resources "$TPU" 'value(state.state)')"
  if [ "$state" != ABSENT ]; then
    QUEUED=1
  else
    state="$(described tpu-vm "$TPU" 'value(state)')"
    [ "$state" != ABSENT ] || die "there is no $TPU in $ZONE of $PROJECT"
  fi
  if ! on "$YES" && ! on "$DRY_RUN"; then
    [ -t 0 ] || die "deleting $TPU deletes the workers' disks; say --yes"
    read -r -p "$TPU ($state) and its workers' disks will be deleted. Its name again: " answer
    [ "$answer" = "$TPU" ] || die "not deleted"
  fi
  remove_slice
}

recreate() {
  request_slice 2>"$scratch/error" && return
  cat "$scratch/error" >&2
  if grep -Eq 'INVALID_ARGUMENT|PERMISSION_DENIED|UNAUTHENTICATED|unrecognized arguments' \
    "$scratch/error"; then
    die "this cannot succeed later either; babysit ends"
  fi
  note "not created; trying again in $INTERVAL s"
  sleep "$INTERVAL"
}

# Keeps the code of its start: what is edited or committed meanwhile changes nothing.
babysit() {
  local state now seen="" started="" suspect="" failures=0 rounds=0
  check_command
  [ -n "$TYPE" ] || die "--type is missing, such as --type=v5litepod-64: babysit creates the slice"
  check_workdir "it goes with the slice when that is preempted"
  pack
  if on "$DRY_RUN"; then
    assumed=ABSENT
    slice_state >/dev/null # It prints its calls elsewhere.
    request_slice && start_run && on_nodes remote all status "$RUN"
    return
  fi
  while :; do
    if state="$(slice_state)"; then
      seen=1
    else
      [ -n "$seen" ] || die "gcloud does not tell how $TPU stands"
      state=WAITING-unknown
    fi
    case "$state" in
      ABSENT) note "creating $TPU" && started="" && recreate && continue ;;
      GONE) note "$TPU is gone; deleting what is left" && started="" && remove_slice && continue ;;
      WAITING-*) note "$TPU: ${state#WAITING-}" ;;
      READY)
        now="$(run_state)"
        case "$started $now" in
          *" unreachable") note "the workers of $TPU do not answer" ;;
          *" running"*)
            [ -n "$started" ] || note "$RUN is running already; looking after it"
            started=1 suspect=""
            # A run that has gone well for a while may fail as often again.
            ((++rounds < 10)) || failures=0
            ;;
          "1 finished"*) note "$RUN has finished" && return ;;
          "1 stopped"*) note "$RUN was stopped on request; babysit ends, $TPU stays" && return ;;
          " "*)
            note "starting $RUN on $TPU"
            if start_run; then started=1 suspect="" rounds=0; fi
            ;;
          # A preempted slice may still be called ready when its run has just died: look again.
          *) if [ -z "$suspect" ]; then note "$RUN: $now" && suspect=1; else restart "$now"; fi ;;
        esac
        ;;
    esac
    sleep "$INTERVAL"
  done
}

# Part of babysit. Workers whose peers have died may hang: whatever is left is ended first.
restart() {
  ((++failures <= RETRIES)) ||
    die "$RUN: $1, after $RETRIES restarts; see launch/tpu_pod.sh logs. $TPU stays"
  note "$RUN: $1; restart $failures of $RETRIES"
  stop_run 60 kill >/dev/null && start_run && suspect="" rounds=0
  return 0
}

subcommand="${1:-}"
case "$subcommand" in
  create | setup | run | status | logs | stop | delete | babysit) shift ;;
  "" | -h | --help | help) usage && exit ;;
  *) die "there is no '$subcommand'; there are create, setup, run, status, logs, stop, delete, babysit" ;;
esac
options "tpu project zone type runtime slices create-flags ssh-flags run python worker slice tail \
wait interval retries" \
  "spot queued allow-dirty local-workdir follow kill yes dry-run" "$@"
for setting in TPU PROJECT ZONE; do
  [ -n "${!setting}" ] ||
    die "--$(tr '[:upper:]' '[:lower:]' <<<"$setting") is missing; as a flag, or as XCOT_$setting in the environment"
done
check_name "$RUN" --run
check_name "$TPU" --tpu
for setting in SLICES SLICE TAIL WAIT INTERVAL RETRIES; do
  check_number "${!setting}" "--$(tr '[:upper:]' '[:lower:]' <<<"$setting")"
done
((SLICES >= 1)) || die "--slices=$SLICES: at least 1"
if ((SLICES > 1)); then QUEUED=1; fi
if [ -n "$TYPE" ] && [ -z "$RUNTIME" ]; then RUNTIME="$(runtime_of "$TYPE")"; fi
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
"$subcommand"
