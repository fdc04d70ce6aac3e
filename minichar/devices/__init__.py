"""Devices: NumPy, CuPy or dpnp behind one protocol."""
