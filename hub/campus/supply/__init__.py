"""The supply of rooms: cut, restored, tripped, switched by timetable; the hub's will in the ledger, and a reconciler."""
