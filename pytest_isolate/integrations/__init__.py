"""What general rules do not give the plugins people run: a module for each, and two for all.

They keep their books where the test runs, and decide in pytest's process. Which of them is there is
asked of the plugin manager; none is imported.
"""
