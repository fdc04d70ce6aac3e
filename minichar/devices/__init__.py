"""Device backends with a common protocol, based on NumPy, CuPy and dpnp."""
