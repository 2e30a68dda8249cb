"""``python -m velatura`` is the ``velatura`` command."""

from velatura.cli import main

if __name__ == "__main__":
    main()
