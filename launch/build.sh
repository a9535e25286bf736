#!/bin/bash
# Configures and builds one preset of CMakePresets.json (default, debug, asan, tsan: that one only the tests of threads
# and of two ranks).
#
#   launch/build.sh [PRESET [CMAKE-OPTION...]]
#
# The default preset builds in build/ and leaves the link ./dptrain. DPTRAIN_JOBS bounds the parallel jobs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

preset=${1:-default}
shift || true
folder=build
[ "$preset" = default ] || folder=build-$preset
log=$folder/build.log

mkdir -p "$folder"
: >"$log"
say "building $folder (log: $log)"
logged "$log" cmake --preset "$preset" "$@" || exit 1
logged "$log" cmake --build --preset "$preset" -j "${DPTRAIN_JOBS:-$(cores)}" || exit 1

if [ "$preset" = default ]; then
    sed -n 's/^-- \(No CUDA toolkit.*\)/\1/p' "$log" >&2
    [ -x dptrain ] || die 70 "the build left no ./dptrain"
fi
