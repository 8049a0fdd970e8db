"""What a person is told when something can't go on."""


class Failure(Exception):
    """Ends the command with its text and exit code 1."""
