#!/usr/bin/env bash
# From a clone to a comparison: prepares the embedded corpus, trains the multilingual SFT baseline, xCoT,
# and xCoT with a lexicon of already seen words, each with two seeds and the same tokens; evaluates them
# on the test split and writes a report. About ten minutes on two cores after installation.
#
#   OUT=runs/quickstart   where everything goes; what is complete there is not done again
#   SEEDS="0 1"           seeds of each method
#   JOBS=N                runs side by side; by default one for each two... cores
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
