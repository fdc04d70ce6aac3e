"""Benchmarks that compare minichar with PyTorch (``minichar bench``), and a load test for the web server."""
