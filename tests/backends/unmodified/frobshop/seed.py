"""What a shop has before its first customer: a country, products with stock, and staff.

``python -m frobshop.seed`` writes it into the migrated database.
"""

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from frobshop.seed_data import FIRST_ID, PRODUCTS, STAFF  # noqa: E402
from oscar.core.loading import get_model  # noqa: E402

if __name__ == "__main__":
    get_model("address", "Country").objects.create(
        iso_3166_1_a2="GB",
        iso_3166_1_a3="GBR",
        printable_name="United Kingdom",
        name="UK",
        is_shipping_country=True,
    )
    kind = get_model("catalogue", "ProductClass").objects.create(name="Outdoor")
    partner = get_model("partner", "Partner").objects.create(name="Warehouse")
    for number, (title, price) in enumerate(PRODUCTS.items(), 1):
        product = get_model("catalogue", "Product").objects.create(
            title=title, product_class=kind, upc=f"frob-{number}"
        )
        product.stockrecords.create(
            partner=partner, partner_sku=f"sku-{number}", price=price, num_in_stock=1_000
        )
    # oscar links its picture of a missing picture when it is first shown: one of two workers fails.
    product.get_missing_image()
    get_model("order", "ShippingEventType").objects.create(name="Returned")
    get_model("order", "PaymentEventType").objects.create(name="Refunded")
    get_user_model().objects.create_superuser("staff", *STAFF, id=FIRST_ID)
