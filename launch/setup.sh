#!/bin/bash
# Installs what a build needs and is missing, on Debian 12, as root or with sudo.
#
#   launch/setup.sh            to build and train
#   launch/setup.sh --tests    to run the tests too
#   launch/setup.sh --all      to run the long tests too (coverage, shell checks, a Slurm cluster on this machine)
#
# Without root it names what is missing on one line and exits 64. With everything there it does nothing.
# Where the libraries come from elsewhere (`module load`), set DPTRAIN_SKIP_SETUP=1: CMake then finds them or says what
# it did not find.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# ocl-icd-opencl-dev: the CMake file of libdnnl-dev asks for OpenCL, the package only recommends it
packages=(build-essential cmake ninja-build pkg-config libopenmpi-dev openmpi-bin libhdf5-dev libdnnl-dev
    ocl-icd-opencl-dev libcunit1-dev libyaml-dev librandom123-dev libxxhash-dev libhwloc-dev libfftw3-dev zlib1g-dev
    libdeflate-dev dataset-fashion-mnist)
case ${1:-} in
'') ;;
--tests) packages+=(hdf5-tools python3) ;;
--all) packages+=(hdf5-tools python3 gcovr shellcheck slurmctld slurmd slurm-client) ;;
*) die 64 "unknown option $1 (--tests or --all)" ;;
esac

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed' || printf '%s\n' "$package"
    done
}

# Prints the words that make a command run as root; fails where there is no way to.
root_prefix() {
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    command -v sudo >/dev/null || return 1
    if [ -t 0 ]; then sudo -v; else sudo -n true 2>/dev/null; fi || return 1
    echo sudo
}

install_packages() {
    "${as_root[@]}" apt-get update -q &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

[ -z "${DPTRAIN_SKIP_SETUP:-}" ] || exit 0
mapfile -t missing < <(missing_packages)
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || die 64 "no apt-get here; needed, by their Debian names: ${missing[*]}"
prefix=$(root_prefix) || die 64 "missing, and no root to install: ${missing[*]}"
as_root=()
[ -z "$prefix" ] || as_root=("$prefix")
say "installing ${#missing[@]} packages (log: build/setup.log)"
# a mirror in the middle of an update fails once and works the next time
logged "$root/build/setup.log" install_packages || {
    say "trying once more"
    sleep 5
    logged "$root/build/setup.log" install_packages || die 70 "could not install: ${missing[*]}"
}
