"""Configuration: the ExternalMetric schema as a typed model, and its loader for YAML files."""
