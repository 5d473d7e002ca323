"""The port to a message system (publish, inboxes) and its adapters."""
