# shellcheck shell=bash
# A TPU slice, or several in one, through gcloud: how it stands, its creation and deletion, commands on
# its workers. To be sourced by tpu_pod.sh, whose settings it reads.

assumed=READY # What dry runs take for the state.
scratch=""    # A directory for files of this call.

# The software version Google names for JAX on each generation.
runtime_of() {
  case "$1" in
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5e-*) die "--type=$1: gcloud calls it v5litepod-${1#v5e-}" ;;
    *) die "--type=$1: give its software version, too: --runtime=VERSION" ;;
  esac
}

# gcloud about this project and zone: `tpus tpu-vm describe NAME`.
tpus() { call gcloud compute tpus "$@" "--project=$PROJECT" "--zone=$ZONE"; }

# The nodes: one by the slice's own name, several as the queued resource numbers them.
nodes() {
  local number
  if ((SLICES == 1)); then echo "$TPU" && return; fi
  for ((number = 0; number < SLICES; number++)); do echo "$TPU-$number"; done
}

# described KIND NAME FORMAT: fields of a node or queued resource, or ABSENT; fails where Google
# cannot be asked, which is no sign of absence. In a dry run it is as `assumed`.
described() {
  if on "$DRY_RUN"; then
    tpus "$1" describe "$2" "--format=$3"
    echo "$assumed"
  elif ! tpus "$1" describe "$2" "--format=$3" 2>"$scratch/error"; then
    if grep -q NOT_FOUND "$scratch/error"; then echo ABSENT; else cat "$scratch/error" >&2 && return 1; fi
  fi
}

# ABSENT, READY, GONE (to be deleted and made anew) or WAITING-STATE: the worst of all parts.
slice_state() {
  local queue="" state node worst=READY
  if on "$QUEUED"; then
    queue="$(described queued-resources "$TPU" 'value(state.state)')" || return 1
    case "$queue" in
      ABSENT) echo ABSENT && return ;;
      SUSPENDED | FAILED) echo GONE && return ;;
      ACTIVE | READY) ;;
      *) echo "WAITING-$queue" && return ;;
    esac
  fi
  for node in $(nodes); do
    state="$(described tpu-vm "$node" 'value(state)')" || return 1
    case "$state" in
      READY) ;;
      ABSENT) if on "$QUEUED"; then worst=GONE; else worst=ABSENT; fi ;;
      PREEMPTED | TERMINATED) worst=GONE ;;
      *) if [ "$worst" = READY ]; then worst="WAITING-$state"; fi ;;
    esac
  done
  # What takes nodes away tells the queued resource first, perhaps between the looks above.
  if [ "$worst" = GONE ] && on "$QUEUED"; then
    state="$(described queued-resources "$TPU" 'value(state.state)')" || return 1
    if [ "$state" != "$queue" ]; then worst="WAITING-$state"; fi
  fi
  echo "$worst"
}

request_slice() {
  local flags=() runtime="${RUNTIME:-$(runtime_of "$TYPE")}"
  read -ra flags <<<"$CREATE_FLAGS"
  if on "$SPOT"; then flags+=(--spot); fi
  if ! on "$QUEUED"; then
    tpus tpu-vm create "$TPU" "--accelerator-type=$TYPE" "--version=$runtime" ${flags[@]+"${flags[@]}"}
    return
  fi
  # A node count above one makes a multislice: Google then gives each worker the MEGASCALE_*
  # coordinates in its metadata, where JAX and libtpu look for them.
  if ((SLICES > 1)); then
    flags+=("--node-count=$SLICES" "--node-prefix=$TPU")
  else
    flags+=("--node-id=$TPU")
  fi
  tpus queued-resources create "$TPU" "--accelerator-type=$TYPE" "--runtime-version=$runtime" "${flags[@]}"
}

# A queued resource takes its nodes along.
remove_slice() {
  if on "$QUEUED"; then
    tpus queued-resources delete "$TPU" --force --quiet
  else
    tpus tpu-vm delete "$TPU" --quiet
  fi
}

wait_until_ready() {
  local state
  on "$DRY_RUN" && return
  while :; do
    state="$(slice_state)" || state=WAITING-unknown
    case "$state" in
      READY) return ;;
      GONE) die "$TPU was not granted, or taken back at once; launch/tpu_pod.sh delete, and try again" ;;
      *) note "$TPU: ${state#WAITING-}; looking again in $INTERVAL s (Ctrl-C does it no harm)" ;;
    esac
    sleep "$INTERVAL"
  done
}

# on_nodes FUNCTION ARGUMENT...: FUNCTION NODE ARGUMENT... for all slices at a time, as their
# processes wait for each other. Fails if it does for any.
on_nodes() {
  local function="$1" node children=() child status=0
  shift
  for node in $(nodes); do
    if ((SLICES == 1)) || on "$DRY_RUN"; then
      "$function" "$node" "$@" || status=$?
    else
      "$function" "$node" "$@" &
      children+=($!)
    fi
  done
  for child in ${children[@]+"${children[@]}"}; do wait "$child" || status=$?; done
  return "$status"
}

# remote NODE WORKER ARGUMENT...: launch/worker.sh there. gcloud repeats what ended with 255, a lost
# connection; so nothing may harm when done twice.
remote() {
  local node="$1" worker="$2" flags=() text
  shift 2
  text="bash xcot/current/launch/worker.sh $(quoted "$@")"
  # Without a copy of the code there has been no run.
  if [ "$1" = status ]; then text+=" 2>/dev/null || echo none - \"\$(hostname)\" not set up"; fi
  read -ra flags <<<"$SSH_FLAGS"
  tpus tpu-vm ssh "$node" "--worker=$worker" ${flags[@]+"${flags[@]}"} "--command=$text"
}
