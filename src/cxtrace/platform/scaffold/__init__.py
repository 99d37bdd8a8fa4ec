"""A first journey map, guessed from an application that exists already."""
