"""Models and arrays in the files of other libraries, one format per file."""
