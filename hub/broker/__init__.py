"""What devices prove themselves with at the broker, and the files Mosquitto reads."""
