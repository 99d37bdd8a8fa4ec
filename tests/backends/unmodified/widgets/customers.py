"""Those who have their widgets renamed: what a script of the company would send.

``python -m widgets.customers CUSTOMER JOURNEY [CUSTOMER JOURNEY]...`` sends three tasks for each.
"""

import sys

import django

django.setup()

from demoapp.models import Widget  # noqa: E402
from demoapp.tasks import count_widgets, rename_widget  # noqa: E402

NO_WIDGET = 999_999

if __name__ == "__main__":
    results = []
    for customer, journey in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        headers = {"X-Customer-Id": customer, "X-Journey-Id": journey}
        widget = Widget.objects.create(name="plain")
        for task, arguments in (
            (rename_widget, (widget.pk, "renamed")),
            (rename_widget, (NO_WIDGET, "renamed")),
            (count_widgets, ()),
        ):
            results.append(task.apply_async(arguments, headers=headers))
    for result in results:
        result.wait(timeout=60, propagate=False)
