"""How everything is computed: plain functions over plain values. Imports no Prefect, no DVC and no task."""
