"""What the campus does with its devices: rooms and their accounts, orders, prepaid electricity."""
