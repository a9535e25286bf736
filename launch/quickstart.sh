#!/bin/bash
# From a fresh clone to a trained network: set-up, build, import of Fashion-MNIST, training at 2 ranks.
# The last line is `test accuracy 0.dddd`.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

bash launch/setup.sh
# for the GPU of this machine; for many kinds of GPU the build takes much longer
options=()
if capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1) && [ -n "$capability" ]; then
    options=(-DDPTRAIN_CUDA_ARCHITECTURES="${capability/./}")
elif command -v nvcc >/dev/null; then
    say "no GPU here: building for CPU ranks only (launch/build.sh builds for GPU nodes too)"
    options=(-DDPTRAIN_CUDA=OFF)
fi
bash launch/build.sh default "${options[@]}"
. launch/env.sh
# the import happens at first use, into $XDG_CACHE_HOME/dptrain
mpirun -np 2 ./dptrain
