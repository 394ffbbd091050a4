"""Devices that speak JSON or plain text over an MQTT broker."""
