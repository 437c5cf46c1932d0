"""What a quantisation is measured with: importance matrix, divergence from the unquantised file, sizes beforehand."""
