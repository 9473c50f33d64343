"""Configuration from YAML files: read, judged as a whole, turned into metrics, and followed when it changes."""
