"""The demo's DAGs, written to be copied from."""
