"""Whether what was paid, ordered, credited and counted is the same: day by day, platform by platform."""
