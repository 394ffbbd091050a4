"""What happens to a room as a whole: somebody moves, leaves, comes; its meter is changed."""
