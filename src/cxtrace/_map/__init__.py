"""The grammar of the map file: from its text to what ``JourneyMap`` holds, and every error on it.

``source`` reads text and remembers lines, ``shapes`` and ``tables`` say what is valid, ``schema``
puts the grammar together, ``merge`` joins the files of several teams, ``lint`` looks at the whole.
"""
