"""Plot loss curves, and create an interactive page that shows a model's hidden states."""
