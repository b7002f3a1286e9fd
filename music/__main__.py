"""`python -m music`: the same as the command `music`."""

from music.cli import main

if __name__ == "__main__":
    main()
