"""Where arrays live and operations run: NumPy, CuPy or dpnp behind one protocol."""
