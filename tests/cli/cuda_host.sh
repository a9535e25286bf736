#!/bin/bash
# Training on the CUDA backend as built for the CPU (tests/hostcuda/), and the machines on which it cannot: each ends with
# its code and one message, at one rank and at several; a device that falls off in mid-run too, within 10 s.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

use_host_device 3
rank_counts=${RANK_COUNTS:-1 2}
limit_s=10

"$make_data" good.h5
job=(data.files=good.h5 model=mlp model.hidden=16 batch=12 steps=40 run.dir=run run.overwrite=true device=cuda)

accepted 'cuda 0 \(CUDA on the host, 0000:10:00.0, [0-9.]+ GiB\)' "${job[@]}"
accepted 'test accuracy' "${job[@]}" cuda.sync=op deterministic=on
accepted 'test accuracy' "${job[@]}" cuda.graph=off cuda.memory=0.5

HOSTCUDA_DRIVER=0 refused 71 'no NVIDIA driver on ' "${job[@]}"
HOSTCUDA_DRIVER=11040 refused 71 'is too old: it is for CUDA 11\.4, this build needs one for CUDA [0-9]+\.[0-9]+' "${job[@]}"
HOSTCUDA_DEVICES=0 refused 71 'no CUDA device on ' "${job[@]}"
HOSTCUDA_CAPABILITY=7.5 refused 71 'compute capability 7\.5, and libdptrain_cuda.so was built for ' "${job[@]}"
HOSTCUDA_BUSY=0 refused 71 'device 0000:10:00\.0 on .* is taken by another process' "${job[@]}"
HOSTCUDA_LOST_AFTER=60 refused 71 ', device 0000:1[0-9]:00\.0 \(CUDA on the host\) failed: cudaError' "${job[@]}"
# with cuda.sync=op the operation that failed is named, with its shapes
HOSTCUDA_LOST_AFTER=90 refused 71 '[a-z_]+ "[a-z0-9_.]+" \(.*\): .* failed: cudaError' "${job[@]}" cuda.sync=op deterministic=on
refused 70 'are needed .* are free' "${job[@]}" cuda.memory=20000

all=$rank_counts
rank_counts=2
HOSTCUDA_DEVICES=1 refused 71 'ranks 0, 1 would share one device on ' "${job[@]}"
# ranks are kept near their GPUs, here in two sockets, unless they are told not to be
export HWLOC_XMLFILE=$root/tests/topology/two_sockets.xml HOSTCUDA_PCI=0000:11:00.0,0000:91:00.0
accepted '^bind: 2 of 2 ranks near their GPUs' "${job[@]/steps=40/steps=2}" log.level=debug
accepted 'test accuracy' "${job[@]/steps=40/steps=2}" log.level=debug bind=off
if grep -q '^bind:' out; then failed "nothing of binding" "$(grep '^bind:' out)"; fi
unset HWLOC_XMLFILE HOSTCUDA_PCI
DPTRAIN_SHARE_GPU=1 HOSTCUDA_DEVICES=1 accepted 'test accuracy' "${job[@]}" comm.library=mpi
DPTRAIN_SHARE_GPU=1 HOSTCUDA_DEVICES=1 HOSTNCCL_VERSION=23000 accepted 'summed by nccl 2\.30\.0' "${job[@]}"
accepted 'summed by nccl 2\.[0-9.]*, deterministic, in bf16' "${job[@]}" comm.dtype=bf16 deterministic=on
DPTRAIN_NCCL=0 refused 71 'no NCCL for rank 0-1 on .*: DPTRAIN_NCCL=0 asks for none' "${job[@]}" comm.library=nccl
HOSTNCCL_VERSION=1:22703 refused 71 'NCCL.s version differs over ranks: 2\.28\.9 \(rank 0 on ' "${job[@]}"
HOSTNCCL_INIT_HANG=1 refused 71 'NCCL has not connected rank 0-1 on .* within 0\.2 s' "${job[@]}" comm.start_s=0.2
rank_counts=$all
refused 64 'cuda\.memory does nothing without device!=cpu' "${job[@]/device=cuda/device=cpu}" cuda.memory=0.5
