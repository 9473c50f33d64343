"""What a tenant's metric may use, and what becomes of it otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.config.build import metric_of
from adapter.kube.secrets import HOSTS, LABEL, NoSecret, Secret, SecretKey
from adapter.kube.tenancy import refuse, secret_keys, with_secrets
from adapter.schema.metric import Metric
from adapter.schema.model import ExternalMetric
from adapter.schema.strict import Origin
from adapter.sources.plan import endpoints
from adapter.sources.redis import RedisSpec


def metric(**redis: Any) -> Metric:
    """Return a tenant's metric of one Redis list."""
    place = {} if "sentinel" in redis else {"url": "rediss://redis.shop:6379/0"}
    document = {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "ExternalMetric",
        "metadata": {"namespace": "shop", "name": "orders"},
        "spec": {"source": {"redis": {**place, "queues": [{"list": "orders"}], **redis}}},
    }
    external = ExternalMetric.model_validate(document, by_alias=True, by_name=False, context=Origin.OBJECT)
    return metric_of(external, "test")


AUTH = {"auth": {"secretRef": {"name": "redis-auth"}}}
CA = {"tls": {"caSecretRef": {"name": "redis-ca"}}}


def secret(hosts: str = "redis.shop", **data: bytes) -> Secret:
    """Return a Secret that was meant for this."""
    return Secret(
        "v1", {LABEL: "true"}, {HOSTS: hosts}, {name.replace("_", "."): value for name, value in data.items()}
    )


def test_credentials_reach_the_endpoint_and_no_text() -> None:
    """User, password and CA are those of the Secrets, and neither spec nor metric shows them."""
    asked = metric(**AUTH, **CA)
    assert list(secret_keys(asked)) == [SecretKey("shop", "redis-auth"), SecretKey("shop", "redis-ca")]
    held = {"redis-auth": secret(username=b"spill", password=b"geheim"), "redis-ca": secret(ca_crt=b"PEM")}
    ready = with_secrets(asked, lambda key: held[key.name])
    (spec,) = endpoints([ready])
    assert isinstance(spec, RedisSpec)
    assert spec.access.credentials is not None
    assert spec.access.credentials.read() == (b"spill", b"geheim")
    assert spec.access.verification.ca_data == "PEM"
    assert "geheim" not in repr((spec, ready, spec.name))


def test_another_version_of_a_secret_is_another_endpoint() -> None:
    """A rotated password is used with the next read; the same one leaves the connection open."""

    def spec(version: str) -> object:
        held = Secret(version, {LABEL: "true"}, {HOSTS: "redis.shop"}, {"password": b"x"})
        return endpoints([with_secrets(metric(**AUTH), lambda _: held)])[0]

    assert spec("1") == spec("1")
    assert spec("1") != spec("2")


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (NoSecret("Secret redis-auth does not exist"), "does not exist"),
        (secret("other.shop", password=b"x"), "may not be used for redis.shop"),
        (secret(username=b"x"), "has no key password"),
        (secret(password=b""), "has no key password"),
    ],
)
def test_a_metric_without_its_secret_is_unknown_and_not_read(held: Secret | NoSecret, why: str) -> None:
    """Nothing is asked without the password, or with one that was not meant for it; the reason is the metric's."""
    asked = metric(**AUTH)
    with pytest.raises(LookupError, match=why):
        with_secrets(asked, lambda _: held)
    waiting = refuse(asked, why)
    assert endpoints([waiting]) == []
    assert waiting.rule.waiting == why
    assert waiting.rule.targets == ()


def test_every_host_a_source_names_must_be_allowed() -> None:
    """A second sentinel on another host would be sent the password too."""
    sentinel = {"addresses": ["redis.shop:26379", "evil.example:26379"], "master": "m"}
    with pytest.raises(LookupError, match=r"may not be used for evil\.example"):
        with_secrets(metric(sentinel=sentinel, **AUTH), lambda _: secret(password=b"x"))


def test_a_metric_without_secrets_is_left_as_it_is() -> None:
    """Most need none."""
    plain = metric()
    assert list(secret_keys(plain)) == []
    assert with_secrets(plain, lambda _: NoSecret("x")) is plain
