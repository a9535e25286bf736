#!/bin/bash
# What is wrong with the words and the config file: exit code 64, and one message that says where and what was meant.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

refused 64 'no command "trian"; did you mean "train"\?.*--help' trian
refused 64 'optimiser.lr=1.*unknown key optimiser.lr; did you mean optimizer.lr\?' optimiser.lr=1
refused 64 'batch.*"many"' train batch=many
refused 64 'model.dropout.* 1.* not in \[0, 1\)' model.dropout=1
refused 64 'model.name: no model "resnet": did you mean "resnet18"' model=resnet
refused 64 'epochs=1 and steps=2' epochs=1 steps=2
refused 64 'optimizer.beta1 does nothing without optimizer.name=adamw,adam,lamb' optimizer.beta1=0.5
refused 64 'unknown option "--batch"' train --batch 3
refused 64 '"extra" is no config file' train extra
refused 64 'absent.yaml: No such file' train absent.yaml

printf 'model: mlp\noptimizer:\n  momentm: 0.5\n' >mistyped.yaml
refused 64 'mistyped.yaml:3:3: unknown key optimizer.momentm; did you mean optimizer.momentum\?' mistyped.yaml
printf 'model: mlp\nbatch: [1\n' >syntax.yaml
refused 64 'syntax.yaml:[23]:[0-9]+: not valid YAML: ' syntax.yaml
printf 'batch: 1\nbatch: 2\n' >twice.yaml
refused 64 'twice.yaml:2:1: batch is given twice, first in line 1' twice.yaml
printf 'layers:\n  - {type: flatten}\n  - {type: linaer, out: classes}\n' >net.yaml
refused 64 'net.yaml:3: no layer type "linaer"; did you mean linear\?' model.file=net.yaml

rank_counts=8
refused 64 'unknown key optimizer.lrr; did you mean optimizer.lr\?' optimizer.lrr=1
