"""From outside: one process watched to its end, and what it left."""
