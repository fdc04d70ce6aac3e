"""Device backends for NumPy, CuPy and dpnp, with a common protocol."""
