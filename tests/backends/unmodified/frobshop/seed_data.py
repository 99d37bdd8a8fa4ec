"""What a shop has before its first customer."""

PRODUCTS = {"Walking boots": "89.00", "Rain jacket": "120.00", "Tin mug": "7.50"}
STAFF = ("staff@frobshop.example", "a password of the staff")
FIRST_ID = 7_310_000
"""Customers' ids count on from here: such numbers are nothing else, wherever they turn up."""
