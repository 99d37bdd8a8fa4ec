"""A service that is right, as the tests of ``cxtrace doctor`` have it."""

KEY = "VxL3sPqT7kZ0wRb5nYcE1uHfG9jQm-2oiK8e4_tW6rY"
MAP = """\
schema = "cxtrace.map/1"
name = "shop"
[functions]
sales = {}
it = {}
[[stage]]
name = "purchase"
phase = "customer"
[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
influence = { sales = 0.6, it = 0.4 }
[[touchpoint]]
name = "pay"
stage = "purchase"
owner = "it"
influence = { sales = 0.4, it = 0.6 }
[[journey]]
name = "order"
goal = "pay"
[journey.routes]
direct = ["cart.view", "pay"]
"""
