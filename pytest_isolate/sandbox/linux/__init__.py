"""System calls, /proc, pidfds: knows no sandbox."""
