#!/bin/bash
# Takes away what up.sh made under this prefix; nothing there is fine.
set -euo pipefail
prefix=${1:-dpt}
for name in $(ip netns list | cut -d' ' -f1); do
    case $name in "$prefix"sw | "$prefix"n[0-9]*) ip netns del "$name" ;; esac
done
