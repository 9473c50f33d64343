"""Who asks, and whether they may: both delegated to the Kubernetes API, as an aggregated API server does."""
