# shellcheck shell=sh
try vqc frobnicate
