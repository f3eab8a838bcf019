"""A small shop: orders, payments, and the providers that it buys them from."""
