"""How fast it is: minichar and PyTorch at the same work, in turn, each in a process of its own."""
