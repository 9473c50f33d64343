"""`spillway explain` and `spillway record`: what a running adapter knows, and why, for people and for files."""
