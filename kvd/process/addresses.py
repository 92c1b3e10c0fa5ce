"""How many connections each address has."""


class Addresses:
    """Those that have some."""

    def __init__(self, most: int) -> None:
        """most: int, connections that an address may have, 0 for any number."""
        self._most = most
        self._counts: dict[str, int] = {}

    def take(self, address: str) -> bool:
        """Count a connection of an address, "" for one that is not counted; False: there are too many."""
        if not (self._most and address):
            return True
        count = self._counts.get(address, 0)
        if count >= self._most:
            return False
        self._counts[address] = count + 1
        return True

    def give_back(self, address: str) -> None:
        """Once for each that was taken."""
        count = self._counts.get(address, 0)
        if count > 1:
            self._counts[address] = count - 1
        elif count:
            del self._counts[address]
