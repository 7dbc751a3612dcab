#!/usr/bin/env bash
# From a clone to a comparison, offline but for installing: prepares the embedded corpus, trains
#   - multilingual SFT        configs/quickstart_sft.py
#   - xCoT                    configs/quickstart_xcot.py
#   - xCoT, seen words only   configs/quickstart_seen_words.py (the control)
# with the same steps and tokens, evaluates them on the test split, and writes a report. Seven to twelve
# minutes on two cores; runs go side by side, one a core.
#
#   OUT=DIR       where everything goes (runs/quickstart); what is done there is not done again
#   SEEDS="0 1"   seeds of each method (0)
#   JOBS=N        runs side by side (as many as cores)
#   PYTHON=python3.12   the interpreter .venv is made with
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

OUT="${OUT:-runs/quickstart}"
SEEDS="${SEEDS:-0}"
cores="$(getconf _NPROCESSORS_ONLN)"
JOBS="${JOBS:-$cores}"
methods=(sft xcot seen_words)

if [ ! -x .venv/bin/xcot ]; then
  echo "installing into .venv"
  [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --upgrade pip
  .venv/bin/python -m pip install --quiet -e .
fi
# A step's temporaries in large pages, kept between steps: no page faults on CPU (docs/performance.md).
kept=glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1000000000000
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1:$kept}"
xcot=.venv/bin/xcot
mkdir -p "$OUT"
SECONDS=0

for method in "${methods[@]}"; do
  echo "preparing $OUT/data_$method"
  $xcot prep --config="configs/quickstart_$method.py" --out="$OUT/data_$method" >"$OUT/prep_$method.log" 2>&1 ||
    { cat "$OUT/prep_$method.log"; exit 1; }
done

runs=()
for seed in $SEEDS; do
  for method in "${methods[@]}"; do
    runs+=("$method-$seed")
  done
done

# One run: training and evaluation on one core, its output in a log.
run() {
  local name="$1" core="$2"
  local method="${name%-*}" seed="${name##*-}" pin=()
  if command -v taskset >/dev/null; then pin=(taskset -c "$((core % cores))"); fi
  export XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
  ${pin[@]+"${pin[@]}"} $xcot train --config="configs/quickstart_$method.py" --workdir="$OUT/$name" \
    --config.data.dir="$OUT/data_$method" --config.seed="$seed" --no-progress
  ${pin[@]+"${pin[@]}"} $xcot eval --workdir="$OUT/$name"
}

# Where each run stands: step and cross-entropy, from its metrics.
status() {
  local line="" name last
  for name in "${runs[@]}"; do
    if [ -f "$OUT/$name/eval/results.json" ]; then
      line+="  $name: done"
    elif last="$(tail -n 1 "$OUT/$name/metrics.jsonl" 2>/dev/null)" && [ -n "$last" ]; then
      line+="  $name: $(sed -E 's/.*"step": ([0-9]+).*"ce": ([0-9.e+-]+).*/\1 \2/' <<<"$last" |
        awk '{ printf "step %d, CE %.2f", $1, $2 }')"
    fi
  done
  echo "[$((SECONDS / 60)):$(printf %02d $((SECONDS % 60)))]$line"
}

echo "training ${#runs[@]} runs, $JOBS side by side; logs in $OUT/*.log"
lanes=()
for ((lane = 0; lane < JOBS && lane < ${#runs[@]}; lane++)); do
  (
    for ((i = lane; i < ${#runs[@]}; i += JOBS)); do
      run "${runs[$i]}" "$lane" >"$OUT/${runs[$i]}.log" 2>&1 ||
        { echo "${runs[$i]} failed:"; tail -n 20 "$OUT/${runs[$i]}.log"; exit 1; }
    done
  ) &
  lanes+=($!)
done
trap 'kill "${lanes[@]}" 2>/dev/null || true' EXIT
while [ -n "$(jobs -rp)" ]; do
  for ((pause = 0; pause < 15 && $(jobs -rp | wc -l); pause++)); do sleep 1; done
  status
done
for lane in "${lanes[@]}"; do wait "$lane"; done
trap - EXIT

# The baseline first: the report compares the others with it.
directories=()
for method in "${methods[@]}"; do
  for seed in $SEEDS; do directories+=("$OUT/$method-$seed"); done
done
$xcot report "${directories[@]}" --out="$OUT/report"
echo "$((SECONDS / 60)) min $((SECONDS % 60)) s after installation; picture: $OUT/report/accuracy.png"
