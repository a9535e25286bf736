#!/bin/bash
# The built-in job: without a word on data it finds Fashion-MNIST (or makes digits), keeps it in the cache folder, and
# names the run directory itself.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

export XDG_CACHE_HOME=$scratch/cache
if [ -r /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ]; then
    about='^data +Fashion-MNIST, 60000 training samples, 10000 test samples'
    file=fashion-mnist.h5
else
    about='^data +generated digits, 20000 training samples, 4000 test samples'
    file=digits.h5
fi

on 2 steps=20
expect 0
grep -Eq "$about" out || failed "$about" "$(head -n 5 out)"
grep -Eq '^model +cnn, ' out || failed "the model cnn" "$(head -n 5 out)"
grep -Eq '^training +20 steps of 128 samples' out || failed "steps of 128" "$(head -n 5 out)"
[[ $(tail -n 1 out) =~ ^test\ accuracy\ 0\.[0-9]{4}$ ]] || failed "a last line 'test accuracy 0.dddd'" "$(tail -n 1 out)"
[ "$(find runs -mindepth 1 -maxdepth 1 -name 'cnn-2*Z' | wc -l)" -eq 1 ] || failed "runs/cnn-<time>" "$(ls runs)"

# The second run takes the file that the first one made; a requeued job of Slurm finds its own folder again.
before=$(stat -c '%i %Y' "cache/dptrain/$file")
run env SLURM_JOB_ID=4711 "$dptrain" model=mlp steps=20
expect 0
[ -e runs/mlp-4711/params.h5 ] || failed "runs/mlp-4711" "$(ls runs)"
[ "$(stat -c '%i %Y' "cache/dptrain/$file")" = "$before" ] || failed "the same $file as before" "a new one"
run env SLURM_JOB_ID=4711 "$dptrain" model=mlp steps=20
expect_refusal 64 'run directory runs/mlp-4711 is not empty'

# two at once, neither with a file yet
rm -rf cache
for folder in a b; do
    mkdir $folder
    (cd $folder && exec timeout 60 "$dptrain" model=mlp steps=20 >out 2>err) &
done
what="two first runs at once"
wait -n || failed "exit code 0 of the first to end" "$(cat a/err b/err)"
wait -n || failed "exit code 0 of the second to end" "$(cat a/err b/err)"

export XDG_CACHE_HOME=/dev/null
refused 74 '/dev/null/dptrain.*: Not a directory' model=mlp steps=2 run.dir=run
