"""Paid orders: taken from payment platforms, delivered once, and told to them."""
