"""Benchmarks that compare minichar with PyTorch (``minichar bench``)."""
