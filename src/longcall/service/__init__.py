"""For services: an ordinary function becomes a call that answers 202 and publishes its completion."""
