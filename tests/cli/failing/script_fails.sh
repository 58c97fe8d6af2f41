# shellcheck shell=sh
try vqc frobnicate
exit 3
