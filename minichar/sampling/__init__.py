"""Generating text: choosing a character from logits, and streams of text side by side."""
