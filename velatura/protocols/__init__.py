"""Questions asked of a frozen anonymizer, one file each.

A protocol sees only what the anonymizer releases, in 8 bits, and answers with scores of a
network that training never met, on test items that nothing was selected on.
"""
