"""For callers: start a call, wait for it, cancel it; and the router that all waits share."""
