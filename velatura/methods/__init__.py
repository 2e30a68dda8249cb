"""How an anonymizer is obtained: one file each, readable beside its paper.

A fixed method offers ``Config`` and ``build(cfg) -> Module``. A learned one offers ``Config``,
``BUDGET`` (the kind of privacy branch that it plays against) and ``train(players, cfg, loop)``.
"""
