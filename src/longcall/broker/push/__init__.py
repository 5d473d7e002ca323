"""Push subscriptions: the broker brings their messages to an HTTP endpoint, and the answer is the ack."""
