"""Spreadsheets of devices: taken into `devices.csv`, given back, and printed as labels."""
