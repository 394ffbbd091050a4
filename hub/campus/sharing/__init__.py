"""What feeders measured and no room did: common use and loss, reported, shared, booked by a person."""
