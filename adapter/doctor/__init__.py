"""`spillway doctor`: is the installation sound, and if not, what to do."""
