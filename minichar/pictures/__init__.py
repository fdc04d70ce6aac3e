"""Loss curves and an interactive page of a model's hidden states."""
