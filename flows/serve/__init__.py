"""Servers, pages and messages: Prefect, MLflow, labelling, notifications, and the heartbeat of runs."""
