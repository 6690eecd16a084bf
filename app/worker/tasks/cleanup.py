"""Clean-up as tasks."""
