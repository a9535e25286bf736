#!/bin/bash
# Installs the build into a folder of its own, moves it, and builds this folder's programs against the moved copy, in C
# and C++, once with find_package() and once with pkg-config. Each must print the version.
#
#   run.sh BUILD-FOLDER VERSION
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$1 version=$2
command -v pkg-config c++ mpicc mpicxx >/dev/null || { echo "needs pkg-config, a C++ compiler, mpicc and mpicxx"; exit 77; }
work=$build/consumer
rm -rf "$work"

# installed under one name and used under another: nothing in the package may remember where it was
cmake --install "$build" --prefix "$work/installed" >"$build/consumer-install.log"
mv "$work/installed" "$work/moved"
pc=$(find "$work/moved" -name dptrain.pc)
library_folder=$(dirname "$(dirname "$pc")")

expect_version() {
    local said
    said=$("$@")
    [ "$said" = "$version" ] || { echo "$*: printed '$said', not '$version'" && exit 1; }
    echo "$1: $said"
}

cmake -S "$here" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/moved" >"$work/configure.log"
cmake --build "$work/build" >"$work/build.log" || { cat "$work/build.log" && exit 1; }
expect_version "$work/build/consumer_c"
expect_version "$work/build/consumer_cxx"

export PKG_CONFIG_PATH=${pc%/*} LD_LIBRARY_PATH=$library_folder
read -r -a flags < <(pkg-config --cflags --libs dptrain)
mpicc -std=c11 -Wall -Wextra -Werror "$here/consumer.c" -o "$work/pc_c" "${flags[@]}"
mpicxx -std=c++17 -Wall -Wextra -Werror "$here/consumer.cpp" -o "$work/pc_cxx" "${flags[@]}"
expect_version "$work/pc_c"
expect_version "$work/pc_cxx"
[ "$(pkg-config --modversion dptrain)" = "$version" ]

# the installed program finds its library by itself
if [ -x "$work/moved/bin/dptrain" ]; then
    unset LD_LIBRARY_PATH
    "$work/moved/bin/dptrain" --version | grep -F "$version"
fi
