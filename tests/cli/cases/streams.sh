# shellcheck shell=sh
# Where output goes, and what happens when it cannot.
cp "$SOURCE/examples/lenet5.onnx" a.onnx
vqc compress -q a.onnx >out 2>err && wc -c <out && wc -c <err
for command in '--version' '--help' 'compress --help' 'report a.onnx' 'compress --force a.onnx' 'report a.onnx --json'; do
    # shellcheck disable=SC2086
    vqc $command >/dev/full 2>err
    echo "$command: exit $?, $(cat err)"
    # shellcheck disable=SC2086
    vqc $command >&- 2>err
    echo "$command: exit $?, $(cat err)"
done
# A closed stdout must not become a model's file.
rm a.int8.onnx
vqc compress a.onnx >&- 2>/dev/null
vqc compress -q a.onnx -o b.onnx && cmp a.int8.onnx b.onnx && echo 'same bytes'
# A reader that goes away is no error worth a message.
(vqc report a.onnx 2>err; echo) | head -n 1 >/dev/null
wc -c <err
# Colours and progress on terminals only, and never against the user's will.
escape=$(printf '\033')
vqc report a.onnx | grep -c "$escape"
run_pty() { python3 "$SOURCE/tests/cli/terminal.py" "$@"; }
run_pty vqc report a.onnx | grep "$escape" >/dev/null && echo 'terminal: colours'
NO_COLOR=1 run_pty vqc report a.onnx | grep -c "$escape"
TERM=dumb run_pty vqc report a.onnx | grep -c "$escape"
NO_COLOR='' run_pty vqc report a.onnx | grep "$escape" >/dev/null && echo 'empty NO_COLOR: colours'
# Tables keep to the width.
for columns in 60 80 120 200; do
    COLUMNS=$columns vqc report a.onnx --ref b.onnx | sed -n '/^  weight  /,$p' | awk -v w=$columns 'length > w { print "too wide for " w ": " $0 }'
done
