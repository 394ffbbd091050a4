"""Commands: what may be told to a device, and the life of one telling."""
