"""Pages generated from the source: course chapters, the command reference and the API reference."""
