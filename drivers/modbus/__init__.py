"""Modbus over TCP, serial lines, serial servers and boxes that dial in."""
