"""The only importer of pytest's private modules, and of pluggy's and pytest's private attributes.

Each function here is one thing that isolation needs and pytest has no public way for. All of them
hold for pytest 8.4 to 9.2; what a plugin may be missing (`-p no:capture`) is asked for first.
"""
