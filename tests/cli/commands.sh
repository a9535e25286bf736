#!/bin/bash
# The commands that only look: --help, --version, info, explain. No MPI where none is needed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=$(sed -n 's/^project(dptrain VERSION \([0-9.]*\).*/\1/p' "$root/CMakeLists.txt")
rank_counts=1
accepted "^dptrain $version\$" --version
accepted '^  bench ' --help
accepted '^  bench ' -h
accepted 'optimizer\.lr' train --help
accepted '^usage: dptrain data import' data -h
accepted '^dptrain eval PARAMS.h5' eval --help
accepted '^dptrain bench NAME' bench --help
accepted '^mpi +' info
accepted '^host +[0-9]+ NUMA node' info
HWLOC_XMLFILE=$root/tests/topology/two_sockets.xml accepted '^ +GPU 0000:91:00.0, NUMA node 1 .* mlx5_1' info
grep -Eq '^hdf5 +[0-9.]+$' out || failed "HDF5's version" "$(cat out)"
grep -Eq '^device +cpu ' out || failed "the CPU device" "$(cat out)"
grep -Eq '^cores +[0-9]+$' out || failed "the number of cores" "$(cat out)"

# info and --help must not start MPI: a launcher's environment that leads nowhere does not disturb them
what="info without MPI"
PMIX_NAMESPACE=none PMIX_RANK=0 run "$dptrain" info
expect 0

"$make_data" data.h5
job=(data.files=data.h5 model=mlp model.hidden=16 batch=60 run.dir=run)
for pass in lower gradient precision distribute update layout fuse schedule memory; do
    accepted 'fc1' explain "$pass" "${job[@]}"
done
for mode in train accumulate apply count gradient evaluate predict; do
    accepted '.' explain "$mode" "${job[@]}"
done
rank_counts=${RANK_COUNTS:-1 3}
accepted 'fc1' explain "${job[@]}"
[ ! -e run ] || failed "no run directory" "$(ls run)"
accepted 'fc1' explain fuse evaluate "${job[@]}" model.batch_norm=sync
rank_counts=3
accepted 'bucket_start' explain distribute "${job[@]}"
refused 64 'explain: mode evaluate has no pass gradient' explain gradient evaluate "${job[@]}"
refused 64 'explain: "fusee" is neither a pass \(lower, precision' explain fusee "${job[@]}"
