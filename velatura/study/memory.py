"""How much memory a study took."""

from __future__ import annotations

import threading


class Memory(threading.Thread):
    """Watches the resident memory of this process and its children; keeps the highest sum."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_mb, self.over = 0.0, threading.Event()

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()

    def run(self) -> None:
        import psutil

        me = psutil.Process()
        while not self.over.wait(2):  # reading it costs every process a little
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory = process.memory_full_info()
                    total += memory.pss if hasattr(memory, "pss") else memory.rss
                except psutil.Error:
                    continue
            self.peak_mb = max(self.peak_mb, total / 2**20)
