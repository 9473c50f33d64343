"""What Spillway costs, beside what one would use instead and beside the least it could cost."""
