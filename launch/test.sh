#!/usr/bin/env bash
# Makes .venv, installs xcot-jax with its test extra, and runs the tests, WORKERS (2) at a time.
# A test that hangs is ended after ten minutes, with what each of its threads was doing; the end of a
# worker is that of the run.
# The slowest tests are told. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --upgrade pip
.venv/bin/python -m pip install --quiet -e '.[test]'
exec .venv/bin/python -m pytest -n "${WORKERS:-2}" --dist loadfile \
  --max-worker-restart=0 --durations=25 -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true "$@"
