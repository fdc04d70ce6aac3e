"""Loss curves, and an interactive page that shows a model's hidden states."""
