"""No credential in any output: an adapter with secrets in every field, and servers that repeat what they are told."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from adapter.kube.secrets import HOSTS, LABEL
from tests.adapter_process import VALUES, Adapter
from tests.cluster_process import ClusterAdapter, external_metric, prepare
from tests.echoing import REDIS_WAYS, WAYS, pages, redises
from tests.kube_api import KubeApi
from tests.redis_server import RedisServer
from tests.test_app import metric, write
from tests.test_explain_process import said
from tests.waiting import until_sync

SHAPES = ("{}", "{}", 'qu"ote\\{}', "per%cent&{}", "blank {} end", "ümläut{}", "{}==", "$%s{{}}{}")
"""What secrets look like around a part that nothing else contains."""


class Keys:
    """Makes secrets of all shapes, and finds what became of them."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}

    def new(self, what: str) -> str:
        """Return another secret; `what` names it when it is found."""
        number = len(self.made)
        core = f"Geheim{number:03}{what.title().replace('-', '')}Wort"
        self.made[core] = what
        return SHAPES[number % len(SHAPES)].format(core)

    def found_in(self, outputs: Iterable[tuple[str, str]]) -> list[str]:
        """Return which secrets are in which output, as they are or in another spelling."""
        found = []
        for where, text in outputs:
            for core, what in self.made.items():
                if any(form in text for form in forms(core)):
                    found.append(f"{what} in {where}")
        return found


def forms(core: str) -> Iterator[str]:
    """Yield a secret's core as it may be spelled: plain, in hexadecimal, in base64 wherever it begins."""
    yield core
    yield core.encode().hex()
    yield quote(core)
    for shift in range(3):
        whole = base64.b64encode(b"x" * shift + core.encode()).decode()
        yield whole[4 if shift else 0 : -8]  # what neighbours cannot change


def outputs(adapter: Adapter, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield everything an adapter says of itself and of these metrics."""
    yield "the log", adapter.log()
    yield "/metrics", "\n".join(adapter.metrics())
    yield "the list of explain", adapter.explain().body.decode()
    for name in names:
        answer = adapter.get(VALUES + name)
        yield f"the answer of {name}", answer.body.decode() + str(answer.headers)
        yield f"explain of {name}", adapter.explain(f"/shop/{name}").body.decode()
        yield f"values of {name}", adapter.explain(f"/shop/{name}/values").body.decode()
        yield f"spillway explain {name}", "".join(map(str, said(adapter, f"shop/{name}")))


def redis_of(port: int, host: str = "127.0.0.1", **auth: Any) -> dict[str, Any]:
    return {"redis": {"url": f"redis://{host}:{port}/0", "auth": auth, "queues": [{"list": "orders"}]}}


def page_of(port: int, way: str, host: str = "127.0.0.1", **auth: Any) -> dict[str, Any]:
    url = f"http://{host}:{port}/{way}/{len(json.dumps(auth))}"
    return {"scrape": {"targets": {"urls": [url]}, "metric": "up", "auth": auth}}


def all_read_twice(adapter: Adapter, names: list[str]) -> bool:
    """Tell whether each metric was read more than once, well or not."""
    reads: dict[str, float] = {}
    for name, value in adapter.metrics().items():
        if name.startswith("spillway_metric_reads_total"):
            which = name.partition('metric="')[2].partition('"')[0]
            reads[which] = reads.get(which, 0) + value
    return all(reads.get(name, 0) >= 2 for name in names)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_credential_of_files_is_said(tmp_path: Path, form: str) -> None:
    """Passwords in files and variables, users and tokens, right and wrong, against servers that repeat them all."""
    keys, environ, metrics = Keys(), dict[str, str](), list[dict[str, Any]]()

    def file(what: str) -> str:
        path = tmp_path / f"credential-{len(keys.made)}"
        path.write_text(keys.new(what) + "\n")
        return str(path)

    right = keys.new("right-password")
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis", password=right.replace(" ", ""))
    (tmp_path / "right").write_text(right.replace(" ", ""))
    with server, pages("127.0.0.1") as port, redises("127.0.0.1") as ports:
        metrics.append(metric("right", redis_of(server.port, passwordFile=str(tmp_path / "right"))))
        metrics.append(metric("wrong", redis_of(server.port, passwordFile=file("wrong"))))
        metrics.append(
            metric("nobody", redis_of(server.port, username=keys.new("user"), passwordFile=file("wrong-too")))
        )
        for number, redis_port in enumerate(ports):
            environ[f"PASSWORD_{number}"] = keys.new(f"redis-env-{number}")
            metrics.append(metric(f"env-{number}", redis_of(redis_port, passwordEnv=f"PASSWORD_{number}")))
            both = {"usernameFile": file(f"redis-user-{number}"), "passwordFile": file(f"redis-password-{number}")}
            metrics.append(metric(f"files-{number}", redis_of(redis_port, **both)))
        for way in WAYS:
            metrics.append(metric(f"token-{way}", page_of(port, way, bearerTokenFile=file(f"token-{way}"))))
            basic = {"username": keys.new(f"basic-user-{way}"), "passwordFile": file(f"basic-password-{way}")}
            metrics.append(metric(f"basic-{way}", page_of(port, way, **basic)))
        names = [each["metadata"]["name"] for each in metrics]
        flags = ("--log-level", "debug", "--log-format", form)
        with Adapter(tmp_path, write(tmp_path / "m.yaml", *metrics), *flags, environ=environ) as adapter:
            until_sync(lambda: all_read_twice(adapter, names), 60)
            assert adapter.get(VALUES + "right").status == 200
            write(tmp_path / "m.yaml", *metrics, {"spec": {"auth": {"passwordFile": right}}})
            until_sync(lambda: "configuration refused" in adapter.log())
            assert keys.found_in(outputs(adapter, names)) == []
            assert adapter.log().count("source failing") >= 2 * len(REDIS_WAYS) + 2 * len(WAYS)
    assert len(keys.made) == 4 + 3 * len(REDIS_WAYS) + 3 * len(WAYS)


def other_address() -> str | None:
    """Return an address of this machine that is not loopback: a tenant's source reaches no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("198.51.100.1", 9))  # sends nothing: only asks which address would be ours
        except OSError:
            return None
        address: str = asked.getsockname()[0]
    return None if address.startswith("127.") else address


def test_no_credential_of_a_secret_is_said(tmp_path: Path) -> None:
    """What Secrets hold reaches the servers they are for, and no log, status, Event, answer, metric or explanation."""
    host = other_address()
    if host is None:
        pytest.skip("this machine has no address but loopback, which a tenant's source must not reach")
    keys = Keys()
    with KubeApi(tmp_path / "kube") as api, pages(host) as port, redises(host) as ports:
        cluster = prepare(api)
        names = []

        def add(name: str, source: dict[str, Any], **more: str) -> None:
            data = {key: base64.b64encode(value.encode()).decode() for key, value in more.items()}
            meta = {"namespace": "shop", "name": name, "labels": {LABEL: "true"}, "annotations": {HOSTS: host}}
            api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": data})
            api.create(external_metric(name, {"source": source, "whenUnknown": {"maxAge": "2s"}}))
            names.append(name)

        for number, redis_port in enumerate(ports):
            source = redis_of(redis_port, host, secretRef={"name": f"redis-{number}"})
            login = {"username": keys.new(f"user-{number}"), "password": keys.new(f"password-{number}")}
            add(f"redis-{number}", source, **login)
        for way in WAYS:
            source = page_of(port, way, host, secretRef={"name": f"token-{way}"})
            add(
                f"token-{way}",
                source,
                token=keys.new(f"token-{way}").replace(" ", "").encode("ascii", "ignore").decode(),
            )
            source = page_of(port, f"{way}/basic", host, secretRef={"name": f"basic-{way}"})
            add(f"basic-{way}", source, username=keys.new("user"), password=keys.new(f"password-{way}"))
        config = tmp_path / "none.yaml"
        config.write_text(yaml.safe_dump_all([]))
        with ClusterAdapter(cluster, tmp_path / "a", config, "--log-level", "debug") as adapter:
            until_sync(lambda: all_read_twice(adapter, names), 60)

            def told(name: str) -> str:
                return json.dumps(api.get("externalmetrics.spillway.dev", "shop", name))

            until_sync(lambda: all('"Available", "status": "False"' in told(name) for name in names), 60)
            assert keys.found_in(outputs(adapter, names)) == []
            assert keys.found_in((f"the object {name}", told(name)) for name in names) == []
            events = api.list("events.events.k8s.io", "shop")
            assert len(events) >= len(names)
            assert keys.found_in([("Events", json.dumps(events))]) == []


def test_what_looks_for_secrets_finds_them() -> None:
    """A secret is found in each spelling, wherever in a text it begins."""
    keys = Keys()
    secret = keys.new("one")
    for text in (secret, f"a{secret}b", secret.encode().hex(), quote(f"x {secret}")):
        assert keys.found_in([("here", text)]) == ["one in here"]
    for before in ("", "u", "us", "usr"):
        text = base64.b64encode(f"{before}{secret}and more".encode()).decode()
        assert keys.found_in([("here", text)]) == ["one in here"]
    assert keys.found_in([("here", "Geheim")]) == []
