"""Sample characters from logits, and generate one or several samples."""
