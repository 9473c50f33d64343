"""What client certificates are verified against: in the handshake, and again with each request."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping

from cryptography.hazmat.primitives.serialization import Encoding

from adapter.auth.config import AuthenticationConfig, read

log = logging.getLogger(__name__)


class Trust:
    """The configuration of client authentication now, and how a TLS context gets it.

    Give it to the serving certificate as its ClientTrust, and have that rotated when this has changed.
    """

    def __init__(self) -> None:
        self.config = AuthenticationConfig()
        self._problems: tuple[str, ...] = ()

    def __call__(self, context: ssl.SSLContext, /) -> None:
        """Let a context ask for a client certificate, which must come from one of the authorities if there is one.

        Whom it may speak for is decided for each request. Tickets would keep the certificate of a handshake that was
        verified against authorities of the past, and none of the certificates between.
        """
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority need not be self-signed
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        if certificates := self.config.certificates:
            pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
            context.load_verify_locations(cadata=pem.decode())

    def update(self, data: Mapping[str, str], rotate: Callable[[], None]) -> None:
        """Take the ConfigMap's data into use; `rotate` is called if the handshake needs new authorities."""
        before = self.config.certificates
        self.config, problems = read(data, self.config)
        if problems != self._problems:
            self._problems = problems
            for problem in problems:
                log.warning("client authentication", extra={"problem": problem})
        if self.config.certificates != before:
            log.info("client authorities changed", extra={"certificates": len(self.config.certificates)})
            rotate()
