"""The fault matrix: what breaks, how, and what is served then; see docs/faults.md."""
