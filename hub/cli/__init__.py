"""The command line: it composes and shows, and holds no logic of its own."""
