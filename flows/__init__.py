"""When and where tasks run: Prefect flows over the graph of dvc.yaml, and the command `gradus`."""
