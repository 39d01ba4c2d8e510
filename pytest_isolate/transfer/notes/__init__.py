"""What other plugins and conftests note while a test runs: carried over to pytest's process.

A hook of theirs runs in the test process and notes what it has seen: on the item, a collector, the
session or the config, in an attribute of its own or a global of its module. The next test and the
summary look for it there. So what such a hook changes is watched (`watcher`), crosses as changes of
places that both processes know (`books`, `values`) and is made again in pytest's process
(`entries`). What tests and fixtures change is not noted: that is what isolation is for.
"""
