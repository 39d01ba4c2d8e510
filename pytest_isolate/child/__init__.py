"""In the test's process: pytest's protocol, and what of it has to be another's there."""
