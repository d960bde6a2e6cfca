"""`python -m oodtune`: the console script for launchers that start modules, such as torchrun."""

from oodtune.cli.main import main

if __name__ == "__main__":
    main()
