"""Readers and writers for the file formats of other libraries, one format per module."""
