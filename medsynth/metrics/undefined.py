"""What a metric answers when the images at hand cannot give it."""


class Undefined(Exception):
    """A metric has no value for these images: its entry is null, with this reason.

    Attributes:
        reason: one line for people: the value found, the rule, and the remedy where there is one.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
