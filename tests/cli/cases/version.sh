# shellcheck shell=sh
try vqc --version
try vqc -V
vqc --version | grep -Eq '^kernels: (c|avx2|avx512|neon) \(this machine: c(, (avx2|avx512|neon))*\)$' && echo 'kernels named'
