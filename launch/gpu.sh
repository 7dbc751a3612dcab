#!/usr/bin/env bash
# NVIDIA GPUs: on this host, on several, or under Slurm. One process a host uses all its GPUs
# (CUDA_VISIBLE_DEVICES leaves some out).
#   launch/gpu.sh run -- xcot train --config=FILE --workdir=DIR
#       on this host, in the foreground
#   launch/gpu.sh run --coordinator=HOST:PORT --process-count=2 --process-id=0 -- xcot train ...
#       the same, as one of several: once on every host, each with its own --process-id
#   launch/gpu.sh run --hosts=a,b -- xcot train ...
#       on these hosts through ssh, under tmux; then `status`, `logs` and `stop` with the same --hosts
#   launch/gpu.sh run --slurm --nodes=2 --gpus=8 -- xcot train ...
#       as a Slurm job; a preempted one is queued again, and resumes
#
# Settings, by flag or environment (--hosts=a,b or XCOT_HOSTS=a,b; the flag wins):
#   --hosts=a,b  names for ssh; the first coordinates, at --port=8476
#   --dir=PATH   the clone with its .venv on every host (the path of this one)
#   --run=NAME   name of the run (train): of its log ~/xcot/NAME.log on each host, or of the job
#   --local-workdir   accepts a --workdir that is not gs:// on several hosts: they share that mount
#   --host=a --tail=100 --follow   which log (the first host's), and how much of it
#   --wait=600 --kill   seconds that stop waits; then the run is killed, and loses what is not saved
#   --nodes=1 --gpus=8 --cpus=64 --time=TIME   Slurm: nodes, and what the job takes of each; time limit
#   --sbatch-flags="..."   more for sbatch, such as --partition=P --account=A
#   --dry-run    prints what would be run, or the job script, and does nothing
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=launch/lib.sh
source "$here/lib.sh"

HOSTS="${XCOT_HOSTS:-}" PORT="${XCOT_PORT:-8476}" DIR="${XCOT_DIR:-$(dirname "$here")}"
COORDINATOR="${XCOT_COORDINATOR:-}"
PROCESS_COUNT="${XCOT_PROCESS_COUNT:-}" PROCESS_ID="${XCOT_PROCESS_ID:-}"
RUN="${XCOT_RUN:-train}" LOCAL_WORKDIR="${XCOT_LOCAL_WORKDIR:-}"
HOST="${XCOT_HOST:-}" TAIL="${XCOT_TAIL:-100}" FOLLOW="${XCOT_FOLLOW:-}"
WAIT="${XCOT_WAIT:-600}" KILL="${XCOT_KILL:-}"
SLURM="${XCOT_SLURM:-}" NODES="${XCOT_NODES:-1}" GPUS="${XCOT_GPUS:-8}" CPUS="${XCOT_CPUS:-}"
TIME="${XCOT_TIME:-}" SBATCH_FLAGS="${XCOT_SBATCH_FLAGS:-}" DRY_RUN="${XCOT_DRY_RUN:-}"

# set_environment GPUS: what the run gets, beside what the user has set.
set_environment() {
  # JAX takes three quarters of the memory by itself, which leaves room for others; there are none.
  environment=("XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.92}")
  # Gathers a layer's weights while the layer before computes; alone, a GPU has nothing to gather.
  if (($1 > 1)); then
    environment+=("XLA_FLAGS=--xla_gpu_enable_latency_hiding_scheduler=true${XLA_FLAGS:+ $XLA_FLAGS}")
  fi
}

run_here() {
  local environment=() count=0
  count="$(nvidia-smi --list-gpus 2>/dev/null | wc -l)" || count=0
  if [ -n "$COORDINATOR$PROCESS_COUNT$PROCESS_ID" ]; then
    [ -n "$COORDINATOR" ] && [ -n "$PROCESS_COUNT" ] && [ -n "$PROCESS_ID" ] ||
      die "--coordinator, --process-count and --process-id go together, on every host"
    check_number "$PROCESS_COUNT" --process-count
    count=$((count + PROCESS_COUNT))
  fi
  set_environment "$count"
  if [ -n "$COORDINATOR" ]; then
    environment+=("XCOT_COORDINATOR=$COORDINATOR" "XCOT_PROCESS_COUNT=$PROCESS_COUNT")
    environment+=("XCOT_PROCESS_ID=$PROCESS_ID")
  fi
  export PATH="$here/../.venv/bin:$PATH"
  call exec env "${environment[@]}" "${command[@]}"
}

# remote HOST ARGUMENT...: launch/worker.sh there.
remote() {
  local host="$1"
  shift
  # Where it cannot ask for a password, ssh fails instead of waiting.
  call ssh -o BatchMode=yes -o ConnectTimeout=20 "$host" "bash $(quoted "$DIR/launch/worker.sh" "$@")"
}

# on_hosts ARGUMENT...: the same on all; fails if it does on any.
on_hosts() {
  local host result=0
  for host in "${hosts[@]}"; do remote "$host" "$@" || result=$?; done
  return "$result"
}

run_on_hosts() {
  local environment=() count="${#hosts[@]}" number states ticket workdir
  workdir="$(argument_of workdir)"
  case "$workdir" in
    "" | gs://*) ;;
    *)
      ((count == 1)) || on "$LOCAL_WORKDIR" ||
        die "--workdir=$workdir: each of the $count hosts may have a disk of its own; \
if it is a mount that all share, say --local-workdir"
      ;;
  esac
  if on "$DRY_RUN"; then
    on_hosts status "$RUN"
  else
    states="$(on_hosts status "$RUN")"
    if grep -q '^running ' <<<"$states"; then
      die "a run $RUN is under way; stop it first, or name this one otherwise (--run=NAME)"
    fi
  fi
  set_environment 2
  ticket="$(date +%s)-$$-$RANDOM"
  for ((number = 0; number < count; number++)); do
    remote "${hosts[number]}" start "$RUN" "$ticket" env "${environment[@]}" \
      "XCOT_COORDINATOR=${hosts[0]##*@}:$PORT" "XCOT_PROCESS_COUNT=$count" "XCOT_PROCESS_ID=$number" \
      "${command[@]}" || die "not started on ${hosts[number]}; launch/gpu.sh stop ends it on the others"
  done
}

job() {
  local environment=() setting time=""
  set_environment "$((NODES * GPUS))"
  if [ -n "$TIME" ]; then time="#SBATCH --time=$TIME"$'\n'; fi
  cat <<EOS
#!/usr/bin/env bash
#SBATCH --job-name=xcot-$RUN
#SBATCH --nodes=$NODES
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=$GPUS
#SBATCH --cpus-per-task=${CPUS:-$((8 * GPUS))}
#SBATCH --output=xcot-$RUN-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
${time}# Before the time limit: time to save.
#SBATCH --signal=TERM@180
set -euo pipefail
cd $(quoted "$DIR")
export PATH="\$PWD/.venv/bin:\$PATH"
EOS
  for setting in "${environment[@]}"; do echo "export $(quoted "$setting")"; done
  cat <<EOS
# One task a node, with all its GPUs. A task that has saved and ended must not have the others killed
# while they save; where one fails, xcot ends the others.
srun --kill-on-bad-exit=0 --wait=0 --label --cpus-per-task="\$SLURM_CPUS_PER_TASK" \\
  $(quoted "${command[@]}")
EOS
}

run_in_slurm() {
  local flags=()
  check_number "$NODES" --nodes
  check_number "$GPUS" --gpus
  [ -z "$CPUS" ] || check_number "$CPUS" --cpus
  [[ "$TIME" =~ ^[0-9:-]*$ ]] || die "--time=$TIME is no time of Slurm's, such as 12:00:00 or 2-00:00:00"
  read -ra flags <<<"$SBATCH_FLAGS"
  call sbatch ${flags[@]+"${flags[@]}"} <<<"$(job)"
  if on "$DRY_RUN"; then job; fi
}

run() {
  ((${#command[@]})) || die "what shall run? It stands behind --: -- xcot train --config=FILE --workdir=DIR"
  if on "$SLURM"; then
    run_in_slurm
  elif [ -n "$HOSTS" ]; then
    run_on_hosts
  else
    run_here
  fi
}

need_hosts() { [ -n "$HOSTS" ] || die "--hosts=a,b is missing"; }

status() { need_hosts && on_hosts status "$RUN"; }

logs() {
  need_hosts
  if on "$FOLLOW"; then set -- follow; else set --; fi
  remote "${HOST:-${hosts[0]}}" logs "$RUN" "$TAIL" "$@"
}

stop() {
  need_hosts
  if on "$KILL"; then set -- kill; else set --; fi
  # All get the signal before any is waited for.
  on_hosts signal "$RUN" || die "not all could be reached"
  on_hosts wait "$RUN" "$WAIT" "$@" ||
    die "not all have ended; --wait=SECONDS waits longer, --kill ends them without saving"
}

subcommand="${1:-}"
case "$subcommand" in
  run | status | logs | stop) shift ;;
  "" | -h | --help | help) usage && exit ;;
  *) die "there is no '$subcommand'; there are run, status, logs, stop" ;;
esac
options "hosts port dir coordinator process-count process-id run host tail wait \
nodes gpus cpus time sbatch-flags" \
  "local-workdir follow kill slurm dry-run" "$@"
check_name "$RUN" --run
for setting in PORT TAIL WAIT; do
  check_number "${!setting}" "--$(tr '[:upper:]' '[:lower:]' <<<"$setting")"
done
IFS=, read -ra hosts <<<"$HOSTS"
for host in ${hosts[@]+"${hosts[@]}"}; do
  [[ "$host" =~ ^[A-Za-z0-9][A-Za-z0-9@._-]*$ ]] || die "--hosts: '$host' is no name of a host"
done
"$subcommand"
