try vqc frobnicate
