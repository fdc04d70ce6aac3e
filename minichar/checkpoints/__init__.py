"""Checkpoints: the archive format, what it stores, and how files are named."""
