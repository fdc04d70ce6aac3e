"""The mathematics: cells, layers, loss, network and gradient checks, forward above backward."""
