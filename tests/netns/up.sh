#!/bin/bash
# Hosts n1 ... nN (N: the first word, 2 by default) on this machine, for tests over several hosts without any: a network
# namespace each, on one bridge, host I at 10.77.0.I on interface e0. Needs root. Names begin with the second word.
# The rule of an interface that is cut: ip -n <prefix>n2 link set e0 down
#
#   up.sh 2 dpt; mpirun --mca plm_rsh_agent tests/netns/agent.sh --host n1,n2 ...; down.sh dpt
set -euo pipefail
count=${1:-2} prefix=${2:-dpt}
ip netns add "${prefix}sw"
ip -n "${prefix}sw" link add br0 type bridge
ip -n "${prefix}sw" link set br0 up
for ((i = 1; i <= count; i++)); do
    ip netns add "${prefix}n$i"
    ip -n "${prefix}n$i" link set lo up
    ip link add e0 netns "${prefix}n$i" type veth peer name "p$i" netns "${prefix}sw"
    ip -n "${prefix}sw" link set "p$i" master br0 up
    ip -n "${prefix}n$i" addr add "10.77.0.$i/24" dev e0
    ip -n "${prefix}n$i" link set e0 up
done
