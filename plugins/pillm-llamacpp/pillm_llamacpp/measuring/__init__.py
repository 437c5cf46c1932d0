"""What a quantisation is measured with: texts, divergence from the unquantised file, sizes beforehand."""
