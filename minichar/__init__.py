"""minichar: character-level language models in plain NumPy, every derivative by hand."""
