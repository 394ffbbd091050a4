"""Alerts: what a room or its staff should know before they find out by themselves."""
