"""A tenant's metric and what it may use: its Secrets, under their owner's conditions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from adapter.kube.secrets import NoSecret, Secret, SecretKey, usable_for
from adapter.schema.metric import Metric, SecretData
from adapter.schema.model import RedisSource, ScrapeSource


class SecretProblemError(LookupError):
    """A Secret cannot be used. `final`: that is its owner's or the API's word; otherwise it has not been read yet."""

    def __init__(self, why: str, *, final: bool = True) -> None:
        super().__init__(why)
        self.final = final


def secret_keys(metric: Metric) -> Iterator[SecretKey]:
    """Yield the Secrets a metric names, of its own namespace."""
    for name in sorted({name for name, _ in _uses(metric)}):
        yield SecretKey(metric.rule.ref.namespace, name)


def with_secrets(metric: Metric, get: Callable[[SecretKey], Secret | NoSecret]) -> Metric:
    """Return the metric with what its Secrets hold.

    Raises:
        SecretProblemError: One of them is not there or must not be used; the message says why.
    """
    found: dict[str, SecretData] = {}
    for name, needed in sorted(_uses(metric)):
        key = SecretKey(metric.rule.ref.namespace, name)
        secret = get(key)
        problem = secret.detail if isinstance(secret, NoSecret) else usable_for(secret, key, _hosts(metric))
        if isinstance(secret, NoSecret) or problem is not None:
            raise SecretProblemError(problem or "", final=not isinstance(secret, NoSecret) or secret.final)
        if not any(secret.data.get(one) for one in needed.split(" or ")):
            raise SecretProblemError(f"Secret {name} has no key {needed}")
        found[name] = SecretData(secret.version, secret.data)
    return replace(metric, secrets=found) if found else metric


def refuse(metric: Metric, why: str, *, final: bool = True) -> Metric:
    """Return a metric that is not read, and unknown for this reason."""
    return replace(metric, targets=(), rule=replace(metric.rule, targets=(), waiting=why, listed=final))


def _uses(metric: Metric) -> Iterator[tuple[str, str]]:
    """Yield each Secret a metric names, and the key it has to have."""
    source = metric.source
    if isinstance(source, RedisSource):
        sentinel = source.sentinel
        for auth in (source.auth, sentinel.auth if sentinel is not None else None):
            if auth is not None and auth.secret_ref is not None:
                yield auth.secret_ref.name, "password"
        for tls in (source.tls, sentinel.tls if sentinel is not None else None):
            if tls is not None and tls.ca_secret_ref is not None:
                yield tls.ca_secret_ref.name, "ca.crt"
    elif isinstance(source, ScrapeSource):
        if source.auth is not None and source.auth.secret_ref is not None:
            yield source.auth.secret_ref.name, "token or password"
        if source.tls is not None and source.tls.ca_secret_ref is not None:
            yield source.tls.ca_secret_ref.name, "ca.crt"


def _hosts(metric: Metric) -> Iterator[str]:
    """Yield every host a metric's configuration names: those its credentials would be sent to.

    Discovered pods have no names; they are "pods.NAMESPACE", and a Service's "SERVICE.NAMESPACE.svc".
    """
    source = metric.source
    if isinstance(source, RedisSource):
        if source.url is not None:
            yield urlsplit(source.url).hostname or ""
        for place in (source.sentinel, source.cluster):
            for address in place.addresses if place is not None else ():
                yield urlsplit(f"//{address}").hostname or ""
    elif isinstance(source, ScrapeSource):
        for url in source.targets.urls:
            yield urlsplit(url).hostname or ""
        namespace = metric.rule.ref.namespace
        if source.targets.service is not None:
            yield f"{source.targets.service}.{namespace}.svc"
        if source.targets.selector is not None:
            yield f"pods.{namespace}"
