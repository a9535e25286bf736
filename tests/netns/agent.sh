#!/bin/bash
# In place of ssh for mpirun (plm_rsh_agent): agent.sh ADDRESS COMMAND..., in the namespace that has the address, under
# a host name of its own. NETNS_PREFIX: as given to up.sh.
set -euo pipefail
name=${NETNS_PREFIX:-dpt}n${1##*.}
shift
# shellcheck disable=SC2016 # the inner shell expands
exec ip netns exec "$name" unshare --uts sh -c 'hostname "$0"; exec sh -c "$*"' "${name}" "$@"
