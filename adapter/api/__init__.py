"""The External Metrics API: what the secure port answers."""
