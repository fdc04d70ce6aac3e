"""Benchmarks: minichar against PyTorch (``minichar bench``), and the load test of the web server."""
