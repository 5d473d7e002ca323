"""The command line: longcall broker, serve, demo."""
