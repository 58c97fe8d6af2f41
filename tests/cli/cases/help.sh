# shellcheck shell=sh
# Every help text, on stdout, with exit code 0.
try vqc --help
try vqc compress --help
try vqc report -h
try vqc run --help
try vqc eval -h
# `help COMMAND` is the same text.
vqc help compress >a && vqc compress --help >b && cmp a b && echo 'help compress: same text'
vqc help report >a && vqc report --help >b && cmp a b && echo 'help report: same text'
vqc help run >a && vqc run --help >b && cmp a b && echo 'help run: same text'
vqc help eval >a && vqc eval --help >b && cmp a b && echo 'help eval: same text'
vqc help stats >a && vqc stats --help >b && cmp a b && echo 'help stats: same text'
vqc help bench >a && vqc bench --help >b && cmp a b && echo 'help bench: same text'
grep -c '^Usage: vqc bench' a
vqc help >a && vqc --help >b && cmp a b && echo 'help: same text'
