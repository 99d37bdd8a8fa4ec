"""The rooms of ``cxtrace demo``: a run, from the shop that opens to the report.

``shop`` finds the shop and makes its environment, ``services`` runs its processes, ``walking``
lets the customers in, ``reading`` gets the spans back, ``checks`` looks for what should be there,
``summary`` has the run as data and ``report`` as text. ``facts`` is what they tell each other.
"""
