"""References to what lies in the cluster: the part of the ExternalMetric schema that only objects may use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adapter.schema.strict import Strict
from adapter.schema.text import DNS_SUBDOMAIN, Text


class SecretRef(Strict):
    """A Secret of the object's own namespace. There is no way to name another one."""

    name: Annotated[
        str,
        Text(
            "must be the name of a Secret: a DNS-1123 subdomain, lower-case letters, digits, - and .",
            pattern=DNS_SUBDOMAIN,
            max_chars=253,
        ),
    ] = Field(description="The Secret's name, a DNS-1123 subdomain of at most 253 characters.")
