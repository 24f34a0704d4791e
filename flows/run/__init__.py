"""One run: its stages as programs, the accelerator they take turns at, what is shown and what is published."""
