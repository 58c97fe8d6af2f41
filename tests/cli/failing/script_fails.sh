try vqc frobnicate
exit 3
