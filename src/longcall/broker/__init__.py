"""The embedded Pub/Sub: Google's API on one machine, filters and all. Knows nothing of calls."""
