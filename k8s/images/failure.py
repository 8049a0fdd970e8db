"""What can't be done, said in a sentence."""


class Failure(Exception):
    """A message for whoever ran the command."""
