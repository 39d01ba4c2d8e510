"""What crosses from the test's process to pytest's: reports, warnings, output, state."""
