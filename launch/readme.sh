#!/bin/bash
# Runs the commands of README.md as a reader would type them: every fenced block that opens with ```sh, in order, from
# the repository's folder, each as one test. Blocks with any other opening (```bash, ```c, ```text) are not run; nor is
# one that calls launch/test.sh, which is what called this.
#
#   launch/readme.sh [COUNTS-FILE]      COUNTS-FILE receives `PASSED FAILED SKIPPED`
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

passed=0 failed=0 skipped=0
blocks=$(mktemp -d)
trap 'rm -rf "$blocks"' EXIT

# one file a block, named by the line where it opens
awk -v folder="$blocks" '
    /^```/ {
        if (file) { close(file); file = "" } else if ($0 == "```sh") file = sprintf("%s/%05d", folder, NR)
        next
    }
    file { print > file }' README.md

for block in "$blocks"/*; do
    [ -e "$block" ] || break
    line=$((10#$(basename "$block")))
    if grep -q 'launch/test\.sh' "$block"; then
        echo "README.md:$line: skipped"
        skipped=$((skipped + 1))
    elif timeout 900 bash -e "$block" </dev/null; then
        echo "README.md:$line: passed"
        passed=$((passed + 1))
    else
        echo "README.md:$line: FAILED ($?)"
        sed 's/^/    /' "$block"
        failed=$((failed + 1))
    fi
done
if [ $((passed + failed + skipped)) -eq 0 ]; then
    echo "README.md: no block opens with \`\`\`sh"
    failed=1
fi
[ $# -eq 0 ] || echo "$passed $failed $skipped" >"$1"
[ "$failed" -eq 0 ]
