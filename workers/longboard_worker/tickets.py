"""Which tickets a node obeys: those that its own site signed, for itself, and each of them once."""

from __future__ import annotations

from pathlib import Path

from longboard_tasks.contract import SignedTicket, Ticket
from longboard_worker.identity import Enrolment, is_signed_by

KEPT = 5_000  # numbers remembered; an older ticket's lease has long ended


class TicketRefused(Exception):
    """The ticket is not signed by the site, is another node's, or was used before."""


class TicketBook:
    """The numbers of the tickets that this node has taken, in a file beside its key."""

    def __init__(self, home: Path) -> None:
        self.path = home / "tickets.seen"
        self.seen = self.path.read_text().split() if self.path.exists() else []

    def accept(self, signed: SignedTicket, enrolment: Enrolment) -> Ticket:
        """The Ticket inside, written down as used before anything is done with it. Raises TicketRefused."""
        ticket = open_ticket(signed, enrolment)
        if ticket.ticket_id in self.seen:
            raise TicketRefused(f"Ticket {ticket.ticket_id} was used before: it is not obeyed twice.")
        self.seen = [*self.seen, ticket.ticket_id][-KEPT:]
        partial = self.path.with_suffix(".part")
        partial.write_text("\n".join(self.seen))
        partial.replace(self.path)
        return ticket


def open_ticket(signed: SignedTicket, enrolment: Enrolment) -> Ticket:
    """The Ticket inside, once its signature is checked against the key that was pinned at enrolment."""
    if signed.public_key != enrolment.server_key:
        raise TicketRefused(
            "The ticket is signed with another key than the site had when this node enrolled. If the site's owner changed "
            "the key on purpose, enrol again."
        )
    if not is_signed_by(signed.public_key, signed.signature, signed.payload.encode()):
        raise TicketRefused("The ticket's signature does not fit: it does not come from the site.")
    ticket = Ticket.model_validate_json(signed.payload)
    if ticket.node != enrolment.node or not ticket.ticket_id:
        raise TicketRefused("The ticket is for another node.")
    return ticket
