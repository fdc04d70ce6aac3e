"""Search for good training options with Optuna."""
