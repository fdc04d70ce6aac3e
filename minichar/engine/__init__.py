"""Cells, layers, loss, network and gradient checks."""
