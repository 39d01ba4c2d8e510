"""In the fork: into a sandbox, with all that a process has brought along."""
