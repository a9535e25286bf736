#!/bin/bash
# From a fresh clone to a trained network: set-up, build, import of Fashion-MNIST, training at 2 ranks.
# The last line is `test accuracy 0.dddd`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

bash launch/setup.sh
bash launch/build.sh
. launch/env.sh
# the import happens at first use, into $XDG_CACHE_HOME/dptrain
mpirun -np 2 ./dptrain
