"""The state of a broker: resources, messages, deliveries, and the file that keeps them. No sockets."""
