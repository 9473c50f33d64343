"""The ExternalMetric schema as a typed model, and the texts its fields hold. Knows no file, cluster or source."""
