"""Arbitrary bytes against everything of ours that others write to: `make fuzz`, and a short run in `make test`."""
