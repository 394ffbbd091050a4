"""Many rooms at once: planned, approved, told one after the other, stopped; a result for each room."""
