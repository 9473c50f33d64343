"""The Kubernetes API as a client sees it: requests, watches and a Lease."""
