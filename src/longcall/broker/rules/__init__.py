"""What a request must be, and the resource that comes of it. Pure: no I/O, no state, no clock."""
