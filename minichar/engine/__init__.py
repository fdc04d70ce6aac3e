"""Cells, layers, loss, network and gradient checks. Each backward function follows its forward function."""
