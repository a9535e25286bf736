#!/bin/bash
# Packs a build into one archive that runs on another x86-64 Linux host which lacks Open MPI, HDF5 and oneDNN (and may
# have an older C library): the program, its libraries and plug-in, the tests, every shared library that is not CUDA's,
# Open MPI's launcher and plug-ins, and the C library with its loader.
#
#   launch/bundle.sh BUILD-FOLDER ARCHIVE.tar.xz        (cmake --build build --target bundle calls it)
#
# In the unpacked folder, `./run COMMAND...` sets the environment and runs a command of bin/ or mpirun: natively where
# the host's C library is new enough, else through the bundled loader. CUDA's libraries come from the host:
# LD_LIBRARY_PATH, CUDA_HOME or the loader's cache.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -eq 2 ] || die 64 "usage: launch/bundle.sh BUILD-FOLDER ARCHIVE.tar.xz"
build=$(cd "$1" && pwd)
archive=$(realpath -m "$2")
[ -x "$build/dptrain" ] || die 64 "$build holds no dptrain: build it first"

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
top=$stage/dptrain-bundle
mkdir -p "$top/bin" "$top/lib" "$top/native"

# The shared libraries of a program or library, but CUDA's and the kernel's.
libraries_of() {
    LD_LIBRARY_PATH=$build/src ldd "$@" 2>/dev/null | sed -n 's/.* => \(\/[^ ]*\) (0x.*/\1/p' |
        grep -v -E '/lib(cuda|cudart|cublas|cublasLt|cudnn|nccl|nvrtc|nvidia)[^/]*\.so' | sort -u || true
}

# The C library itself: used only through its own loader, so it lies apart.
is_c_library() {
    case ${1##*/} in
    libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | librt.so.1 | libresolv.so.2 | libutil.so.1 | \
        ld-linux-x86-64.so.2 | libnss_* | libanl.so.1) return 0 ;;
    *) return 1 ;;
    esac
}

copy_library() {
    if is_c_library "$1"; then cp -L "$1" "$top/native/"; else cp -Ln "$1" "$top/lib/"; fi
}

cp "$build/dptrain" "$top/bin/"
find "$build/tests" -maxdepth 1 -type f -name 'test_*' -perm -u+x -exec cp {} "$top/bin/" \;
find "$build" -name 'libdptrain*.so*' -not -path '*/hostcuda/*' -exec cp -L {} "$top/lib/" \;
loader=$(readlink -f /lib64/ld-linux-x86-64.so.2)
cp -L "$loader" "$top/native/ld-linux-x86-64.so.2"

# Open MPI finds its parts below OPAL_PREFIX as they lay below its own prefix, PMIx below PMIX_INSTALL_PREFIX.
mpi_prefix=$(ompi_info --parsable --path prefix | sed 's/.*://')
mpi_plugins=$(ompi_info --parsable --path pkglibdir | sed 's/.*://')
mpi_texts=$(ompi_info --parsable --path pkgdatadir | sed 's/.*://')
for tool in mpirun orted; do cp -L "$(command -v "$tool")" "$top/bin/$tool"; done
mkdir -p "$top/${mpi_plugins#"$mpi_prefix"/}" "$top/${mpi_texts#"$mpi_prefix"/}"
cp -L "$mpi_plugins"/mca_*.so "$top/${mpi_plugins#"$mpi_prefix"/}/"
cp -rL "$mpi_texts/." "$top/${mpi_texts#"$mpi_prefix"/}/"
pmix=$(dirname "$(dirname "$(readlink -f "$(ldconfig -p | sed -n 's/.*libpmix.so.2 .* => //p' | head -n 1)")")")
pmix_from_prefix=${pmix#"$mpi_prefix"/}
if [ -d "$pmix/lib/pmix" ]; then
    mkdir -p "$top/$pmix_from_prefix/lib/pmix" "$top/$pmix_from_prefix/share"
    cp -L "$pmix"/lib/pmix/*.so "$top/$pmix_from_prefix/lib/pmix/"
    [ ! -d "$pmix/share/pmix" ] || cp -rL "$pmix/share/pmix" "$top/$pmix_from_prefix/share/"
fi

mapfile -t needed < <(libraries_of "$top"/bin/* "$top"/lib/*.so* "$top/${mpi_plugins#"$mpi_prefix"/}"/*.so \
    "$top/$pmix_from_prefix"/lib/pmix/*.so)
for library in "${needed[@]}"; do
    case ${library##*/} in libdptrain*) ;; *) copy_library "$library" ;; esac
done
find "$top/bin" "$top/lib" "$top/native" "$top/${mpi_plugins%%/*}" -type f -exec strip --strip-unneeded {} + 2>/dev/null ||
    true

cat >"$top/run" <<RUN
#!/bin/bash
# ./run COMMAND ARGUMENT...: see launch/bundle.sh of dptrain.
here=\$(cd "\$(dirname "\${BASH_SOURCE[0]}")" && pwd)
export OPAL_PREFIX=\$here PMIX_INSTALL_PREFIX=\$here/$pmix_from_prefix
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_plm_rsh_agent= OMPI_MCA_plm=isolated OMPI_MCA_btl_vader_single_copy_mechanism=none
cuda=\${CUDA_HOME:-/usr/local/cuda}
libraries=\$here/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
[ ! -d "\$cuda/lib64" ] || libraries=\$libraries:\$cuda/lib64
command=\$1
shift
[ ! -x "\$here/bin/\$command" ] || command=\$here/bin/\$command
if LD_LIBRARY_PATH=\$libraries "\$here/bin/dptrain" --version >/dev/null 2>&1; then
    export LD_LIBRARY_PATH=\$libraries
    exec "\$command" "\$@"
fi
exec "\$here/native/ld-linux-x86-64.so.2" --library-path "\$here/native:\$libraries" "\$command" "\$@"
RUN
chmod +x "$top/run"
mkdir -p "$(dirname "$archive")"
tar -C "$stage" -cf - dptrain-bundle | xz -T0 -6 >"$archive.partial"
mv "$archive.partial" "$archive"
bytes=$(stat -c %s "$archive")
say "$archive: $((bytes / 1048576)) MiB"
[ "$bytes" -lt $((60 * 1000 * 1000)) ] || die 70 "$archive is larger than 60 MB"
