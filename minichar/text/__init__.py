"""Reading text, encoding characters as ids and cutting them into batches."""
