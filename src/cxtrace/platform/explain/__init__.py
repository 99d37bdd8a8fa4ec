"""What leaves the process, attribute by attribute, under the configuration in force.

``patient`` reads the live configuration in a process of its own, ``rules`` say what it switches
off, ``registry`` says what each name means, and ``explanation`` puts them together.
"""
