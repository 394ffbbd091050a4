"""What is installed: the files, what of them was applied, and which room a device serves."""
