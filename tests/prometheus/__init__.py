"""A real Prometheus 3: how to get one, and what it says of the same samples."""
