"""What clients were promised, and whether the store keeps it.

A message is known by its token (field `X-Chaos`). For each account and token the ledger has every state that the answers allow: one, if
each operation on it was answered; more, if the answer of some was lost. Nothing else may be found at the end."""

import threading

ABSENT = None


class Ledger:
    """Accounts' messages, and mail that was to leave."""

    def __init__(self):
        self.lock = threading.Lock()
        # (account, token) -> set of (mailbox, frozenset of flags) or ABSENT
        self.states = {}
        # token -> "acknowledged", "refused" or "unknown"
        self.outgoing = {}
        self.counts = {"acknowledged": 0, "refused": 0, "unknown": 0}

    def expects(self, account, token, mailbox):
        """A message is about to be appended."""
        with self.lock:
            self.states[account, token] = {(mailbox, frozenset()), ABSENT}

    def arrives(self, account, token, outcome, mailbox="INBOX", flags=()):
        """A message was delivered or appended, with this outcome."""
        there = (mailbox, frozenset(flags))
        allowed = {"acknowledged": {there}, "refused": {ABSENT}, "unknown": {there, ABSENT}}[outcome]
        with self.lock:
            self.states[account, token] = allowed
            self.counts[outcome] += 1

    def changes(self, account, token, outcome, change):
        """An operation on a message that turns each of its states into `change(state)`."""
        with self.lock:
            before = self.states[account, token]
            after = {ABSENT if state is ABSENT else change(*state) for state in before}
            if outcome == "acknowledged":
                self.states[account, token] = after
            elif outcome == "unknown":
                self.states[account, token] = before | after
            self.counts[outcome] += 1

    def leaving(self, token):
        """A message for another server is about to be submitted."""
        with self.lock:
            self.outgoing[token] = "unknown"

    def leaves(self, token, outcome):
        """A message for another server was submitted, with this outcome."""
        with self.lock:
            self.outgoing[token] = outcome
            self.counts[outcome] += 1

    def count(self, outcome):
        """Something was asked that the ledger does not keep."""
        with self.lock:
            self.counts[outcome] += 1

    def acknowledged_leaving(self):
        """The tokens of mail that must arrive at the other server."""
        with self.lock:
            return {token for token, outcome in self.outgoing.items() if outcome == "acknowledged"}

    def audit(self, stored, taken):
        """Every broken promise, in words, and how many messages were sent more than once.

        `stored`: {(account, token): [(mailbox, flags), ...]}, `taken`: how often each token came to the other server.
        """
        broken = []
        for (account, token), allowed in sorted(self.states.items()):
            found = stored.pop((account, token), [])
            if len(found) > 1:
                broken.append(f"{account} has {token} {len(found)} times: {found}")
                continue
            state = found[0] if found else ABSENT
            if state not in allowed:
                broken.append(f"{account}, {token}: allowed was {allowed}, found {state}")
        for (account, token), found in sorted(stored.items()):
            broken.append(f"{account} has {token}, which nobody sent: {found}")
        repeated = 0
        for token, outcome in sorted(self.outgoing.items()):
            times = taken.get(token, 0)
            if outcome == "acknowledged" and times == 0:
                broken.append(f"{token} was to leave and never arrived")
            if outcome == "refused" and times > 0:
                broken.append(f"{token} left although its submission was refused")
            repeated += max(0, times - 1)
        return broken, repeated
