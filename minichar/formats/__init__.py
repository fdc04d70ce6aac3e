"""Models and arrays in the file formats of other libraries, one format per module."""
