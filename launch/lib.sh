# shellcheck shell=bash
# What the launchers share: settings by flag or environment, quoting, dry runs. To be sourced;
# keeps to what the bash 3.2 of macOS has.

# The head comment of the script is its help.
usage() { awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"; }

note() { echo "$(basename "$0"): $*" >&2; }

die() {
  note "error: $*"
  exit 2
}

# Whether a switch is on: set, and not to 0.
on() { [ -n "$1" ] && [ "$1" != 0 ]; }

# A command line that can be copied into a bash.
shown() {
  local text
  printf -v text '%q ' "$@"
  printf '%s\n' "${text% }"
}

# Arguments as one text that any POSIX shell reads as the same arguments: they pass through the
# login shell of another host, whichever that is.
quoted() {
  local argument text="" mark="'"
  for argument in "$@"; do
    if [[ "$argument" =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      text+=" $argument"
      continue
    fi
    text+=" $mark"
    while [[ "$argument" == *"$mark"* ]]; do
      text+="${argument%%"$mark"*}$mark\\$mark$mark"
      argument="${argument#*"$mark"}"
    done
    text+="$argument$mark"
  done
  printf '%s' "${text# }"
}

# Runs a command; in a dry run only prints it, to the script's own standard output (3, see `options`)
# also from within $(...).
call() {
  if on "${DRY_RUN:-}"; then shown "$@" >&3; else "$@"; fi
}

# options "VALUES" "SWITCHES" ARGUMENT...: sets the variables of `--key=value` (KEY), of `--switch`
# (SWITCH=1), and `command`, which is all that follows `--`. A flag beats the environment, from
# which the scripts take their defaults.
options() {
  local values=" $1 " switches=" $2 " argument key variable
  command=()
  shift 2
  while (($#)); do
    argument="$1"
    shift
    key="${argument%%=*}"
    key="${key#--}"
    variable="$(tr 'a-z-' 'A-Z_' <<<"$key")"
    case "$argument" in
      --) command=("$@") && break ;;
      --help) usage && exit 0 ;;
      --*=*)
        [[ "$values" == *" $key "* ]] || unknown "$argument" "$values" "$switches"
        printf -v "$variable" %s "${argument#*=}"
        ;;
      --*)
        [[ "$values" != *" $key "* ]] || die "$argument needs a value: $argument=VALUE"
        [[ "$switches" == *" $key "* ]] || unknown "$argument" "$values" "$switches"
        printf -v "$variable" %s 1
        ;;
      *) die "what is ${argument}? The command to run stands behind --: -- xcot train ..." ;;
    esac
  done
  if on "${DRY_RUN:-}"; then exec 3>&1; fi
}

unknown() {
  local known
  known="$(tr ' ' '\n' <<<"$2$3" | sed '/^$/d; s/^/--/' | sort | tr '\n' ' ')"
  die "there is no setting ${1%%=*}; there are ${known% }"
}

# Names of runs, which name files and tmux sessions as well.
check_name() {
  [[ "$1" =~ ^[A-Za-z0-9][A-Za-z0-9_-]*$ ]] ||
    die "$2=$1: letters, digits, - and _ only, the first a letter or a digit"
}

check_number() {
  [[ "$1" =~ ^[0-9]+$ ]] || die "$2=$1 is not a whole number"
}

# The value of `--KEY=VALUE` or `--KEY VALUE` in the command to run; empty without one.
argument_of() {
  local key="$1" argument before=""
  for argument in ${command[@]+"${command[@]}"}; do
    if [ "$before" = "--$key" ]; then printf '%s' "$argument" && return; fi
    case "$argument" in "--$key="*) printf '%s' "${argument#*=}" && return ;; esac
    before="$argument"
  done
}
