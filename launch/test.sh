#!/bin/bash
# Builds the project and runs its tests; installs what is missing first.
#
#   launch/test.sh        every test of the default build
#   launch/test.sh all    also under AddressSanitizer + UBSan, with coverage, and under ThreadSanitizer, and the
#                         commands of README.md as typed (up to 30 minutes on 2 cores)
#
# The last line is `N passed, N failed, N skipped`, summed over all parts. The exit status is 1 if anything failed or if
# no test ran. A part that cannot be built counts as one failure. DPTRAIN_JOBS bounds the parallel jobs, 2 by default.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
. launch/env.sh
export DPTRAIN_JOBS=${DPTRAIN_JOBS:-2}

passed=0 failed=0 skipped=0

heading() { printf '\n== %s (after %d s)\n' "$1" "$SECONDS"; }

# count PASSED FAILED SKIPPED
count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
    skipped=$((skipped + $3))
}

# Prints `PASSED FAILED SKIPPED` of a JUnit file. A test that could not be started is a failure, one that exited with
# its SKIP_RETURN_CODE is skipped.
junit_counts() {
    awk '/<testcase / { ran = /status="run"/; fell = /status="fail"/; pass += ran; fail += fell }
         /<skipped message=/ && !ran && !fell { if (/SKIP_RETURN_CODE/) skip++; else fail++ }
         END { print pass + 0, fail + 0, skip + 0 }' "$1"
}

# ctest_part FOLDER CTEST-OPTION...: finding no test at all is a failure.
ctest_part() {
    local folder=$1 junit counts status=0
    shift
    junit=$root/$folder/junit.xml
    rm -f "$junit"
    "${plain_addresses[@]}" ctest --test-dir "$folder" -j "$DPTRAIN_JOBS" --output-on-failure --no-tests=error \
        --output-junit "$junit" "$@" </dev/null || status=$?
    counts="0 0 0"
    [ ! -e "$junit" ] || counts=$(junit_counts "$junit")
    # shellcheck disable=SC2086 # three words
    set -- $counts
    if [ "$status" -ne 0 ] && [ "$2" -eq 0 ]; then set -- "$1" 1 "$3"; fi
    count "$@"
}

# build_part PRESET [CMAKE-OPTION...]: counts a failed build.
build_part() { bash launch/build.sh "$@" || { count 0 1 0 && false; }; }

# One build shows both what the sanitizers find and which lines the tests reach.
sanitizer_part() {
    heading "AddressSanitizer, UBSan and coverage"
    build_part asan || return 0
    find build-asan -name '*.gcda' -delete
    # 4 and 8 ranks run in the default build: they do what 2 and 3 do
    ctest_part build-asan -LE '^(long|cuda)$' -E '_np[48]$'
    # of the GPU's tests those that reach its lines soonest
    ctest_part build-asan --no-tests=ignore \
        -R '^((comm_(emulated|nccl|staged)|cuda_(pool|product|step|update)|device_cuda|golden|half|layout_kernels|norm|op_kernels|placement|update)_cuda|nccl_start_)'
    # the tables for each file stay in the folder; lines and branches in sum are printed
    gcovr --root . --object-directory build-asan --filter src/ --print-summary \
        --output build-asan/coverage.txt || count 0 1 0
    # the GPU's code, run without a GPU: at least 90 % of its lines
    if [ -d build-asan/tests/hostcuda/CMakeFiles/dptrain_cuda_host.dir ]; then
        printf 'cuda/: '
        gcovr --root . --object-directory build-asan --filter cuda/ --print-summary --fail-under-line 90 \
            --output build-asan/coverage-cuda.txt || count 0 1 0
    fi
}

thread_part() {
    heading "ThreadSanitizer"
    build_part tsan || return 0
    ctest_part build-tsan -L '^threads$'
    ctest_part build-tsan -R '_np2$' -LE '^(threads|long)$'
}

readme_part() {
    local counts
    heading "README.md as typed"
    bash launch/readme.sh build/readme.counts </dev/null || true
    read -r -a counts <build/readme.counts || counts=(0 1 0)
    count "${counts[@]}"
}

case ${1:-} in
'') bash launch/setup.sh --tests ;;
all) bash launch/setup.sh --all ;;
*) die 64 "usage: launch/test.sh [all]" ;;
esac

# sanitizers of this age abort where the kernel randomises more address bits than they know
plain_addresses=(setarch "$(uname -m)" -R)
"${plain_addresses[@]}" true 2>/dev/null || plain_addresses=()

heading "tests"
# one architecture is enough to compile and link the plug-in
if build_part default -DDPTRAIN_CUDA_ARCHITECTURES=90; then ctest_part build; fi
if [ "${1:-}" = all ]; then
    sanitizer_part
    thread_part
    readme_part
fi

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
