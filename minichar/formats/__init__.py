"""Models and arrays in other libraries' files, a format a file; `minichar.convert` chooses among them."""
