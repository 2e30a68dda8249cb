"""Measurements in, tables, one HTML page and a card out; nothing here trains or measures.

``run.py`` reads the folder of a finished or unfinished run, ``findings.py`` says in words what
the numbers show, ``tables.py`` and ``figures.py`` lay them out, ``page.py`` writes the page.
``evaluation.py`` puts all that is known of one row into ``eval.json``; ``card.py``, ``dpia.py`` and
``limits.py`` write the texts of the card from that alone.
"""
