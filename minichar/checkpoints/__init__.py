"""Checkpoints: the archive format, its contents, and file names."""
