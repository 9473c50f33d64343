"""The async shell: configuration, sources, collection, the API, our telemetry. Imports `scaler`, never the reverse."""
