"""In the keeper and in PID 1: makes sandboxes and removes them."""
