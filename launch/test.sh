#!/usr/bin/env bash
# Makes .venv, installs xcot-jax with its test extra, and runs the tests, WORKERS (2) at a time.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3}"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --upgrade pip
.venv/bin/python -m pip install --quiet -e '.[test]'
exec .venv/bin/python -m pytest -n "${WORKERS:-2}" --dist loadfile "$@"
