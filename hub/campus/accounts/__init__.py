"""Rooms' money: who has how much, every movement of it, and what things cost."""
