"""Execution of one run: stages as subprocesses, accelerator locking, console output and published pages."""
