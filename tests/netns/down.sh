#!/bin/bash
# Takes away what up.sh made under this prefix, and what still runs in it; nothing there is fine.
set -euo pipefail
prefix=${1:-dpt}
for name in $(ip netns list | cut -d' ' -f1); do
    case $name in
        "$prefix"sw | "$prefix"n[0-9]*)
            for process in $(ip netns pids "$name"); do kill -KILL "$process" || true; done
            ip netns del "$name"
            ;;
    esac
done
