"""Servers and notifications: Prefect, MLflow, the labelling page, messages, and the heartbeat of runs."""
