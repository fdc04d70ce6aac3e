"""Text generation: sampling a character from logits, and several texts in one batch."""
