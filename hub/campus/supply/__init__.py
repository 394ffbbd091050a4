"""The supply of rooms: cut, restored, tripped, switched by timetable."""
