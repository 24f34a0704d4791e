"""Hyper-parameter search: ranges, study, trials within a budget of time, and the resulting recipe."""
