"""Sandboxes made of Linux namespaces, mounts and cgroups. Knows nothing of pytest."""
