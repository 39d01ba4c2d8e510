"""In pytest's process: what runs when, and what pytest's hooks hear of it."""
