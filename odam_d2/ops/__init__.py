"""Tensors in, tensors out: the mathematics of the package, on torch alone."""
