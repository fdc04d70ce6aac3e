"""Sample characters from logits, and generate text."""
