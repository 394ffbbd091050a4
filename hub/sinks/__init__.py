"""Destinations readings are forwarded to, each behind the Sink contract."""
