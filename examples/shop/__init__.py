"""A small shop, in three services that cxtrace instruments. `cxtrace demo` runs it.

============  ==========================================================================
storefront    FastAPI: what customers see
payments      Flask: the bank's side of an order, asked over HTTP
fulfilment    a worker: packs and ships what the queue brings
broker        the queue, in a process of its own; the least that can be called a broker
customers     scripted people with browsers; they know nothing of all this
============  ==========================================================================

Each service has a SQLite database in the folder in which it runs. To run one by hand::

    cd examples && python -m shop.payments
"""
