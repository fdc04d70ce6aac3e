"""Read text, encode its characters as ids and split them into batches."""
