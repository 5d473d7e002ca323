"""What every room stands on: the root error and the clock. Standard library only."""
