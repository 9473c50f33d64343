"""The command line: flags, environment, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields
from ipaddress import ip_network
from pathlib import Path

import pytest

from adapter.options import (
    SERVE_FLAGS,
    CheckOptions,
    DemoOptions,
    ServeOptions,
    parse,
    serve_defaults,
    serve_problems,
)

SERVE = ("serve", "--standalone", "--config", "metrics.yaml")


def serve(*argv: str, environ: Mapping[str, str] | None = None) -> ServeOptions:
    options = parse([*SERVE, *argv], environ or {})
    assert isinstance(options, ServeOptions)
    return options


def refusal(capsys: pytest.CaptureFixture[str], *argv: str, environ: Mapping[str, str] | None = None) -> str:
    """Return what a refused command line prints."""
    with pytest.raises(SystemExit) as exit_:
        parse(argv, environ or {})
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_standalone_defaults() -> None:
    """Standalone listens on loopback and stops without delay."""
    assert serve() == ServeOptions(
        config=(Path("metrics.yaml"),),
        bind_address="127.0.0.1",
        secure_port=6443,
        tls_cert_file=None,
        tls_private_key_file=None,
        cert_dir=None,
        metrics_bind_address="127.0.0.1",
        metrics_port=8080,
        explain_port=8081,
        standalone=True,
        shutdown_delay_s=0.0,
        kubeconfig=None,
        namespace=None,
        service_name="spillway",
        lease_name="spillway",
        cert_mode="self",
        patch_apiservice=True,
        strict_reach=False,
        reach_allow=(),
        share=(),
        max_metrics_per_namespace=1000,
        max_metrics=10_000,
        max_namespace_mib=512,
        max_targets=5_000,
        max_watches_per_namespace=100,
        max_reads=1024,
        max_connections=1000,
        max_requests_inflight=400,
        authentication_token_webhook_cache_ttl_s=10.0,
        authorization_webhook_cache_authorized_ttl_s=10.0,
        authorization_webhook_cache_unauthorized_ttl_s=10.0,
        log_level="info",
        log_format="text",
        log_rate=100,
    )


def test_cluster_defaults() -> None:
    """In a cluster everything listens on every address, and stopping waits for endpoints to follow."""
    options = serve_defaults({"config": (Path("a"),)})
    assert (options.bind_address, options.metrics_bind_address) == ("0.0.0.0", "0.0.0.0")
    assert options.shutdown_delay_s == 5.0


def test_every_flag() -> None:
    """Each flag sets its field; --config and other lists add up."""
    options = serve(
        *("--namespace", "n", "--service-name", "s", "--lease-name", "l", "--cert-mode", "files"),
        *("--patch-apiservice=false", "--strict-reach", "--reach-allow", "10.20.0.0/16", "--reach-allow", "fd00::/8"),
        *("--share", "a=b", "--share", "a=c", "--max-metrics-per-namespace", "7", "--max-reads", "64"),
        *("--max-connections", "8", "--max-requests-inflight", "9"),
        *("--max-metrics", "8", "--max-namespace-mib", "9", "--max-targets", "10", "--max-watches-per-namespace", "11"),
        *("--config", "more", "--bind-address", "::1", "--secure-port", "0", "--tls-cert-file", "c"),
        *("--tls-private-key-file", "k", "--cert-dir", "d", "--metrics-bind-address", "10.0.0.1"),
        *("--metrics-port", "1", "--explain-port", "2", "--shutdown-delay", "1m500ms", "--log-level", "debug"),
        *("--authentication-token-webhook-cache-ttl", "1s", "--authorization-webhook-cache-authorized-ttl", "5m"),
        *("--authorization-webhook-cache-unauthorized-ttl=0", "--log-format", "json", "--log-rate", "12"),
    )
    assert options == ServeOptions(
        config=(Path("metrics.yaml"), Path("more")),
        bind_address="::1",
        secure_port=0,
        tls_cert_file=Path("c"),
        tls_private_key_file=Path("k"),
        cert_dir=Path("d"),
        metrics_bind_address="10.0.0.1",
        metrics_port=1,
        explain_port=2,
        standalone=True,
        shutdown_delay_s=60.5,
        kubeconfig=None,
        namespace="n",
        service_name="s",
        lease_name="l",
        cert_mode="files",
        patch_apiservice=False,
        strict_reach=True,
        reach_allow=(ip_network("10.20.0.0/16"), ip_network("fd00::/8")),
        share=(("a", "b"), ("a", "c")),
        max_metrics_per_namespace=7,
        max_metrics=8,
        max_namespace_mib=9,
        max_targets=10,
        max_watches_per_namespace=11,
        max_reads=64,
        max_connections=8,
        max_requests_inflight=9,
        authentication_token_webhook_cache_ttl_s=1.0,
        authorization_webhook_cache_authorized_ttl_s=300.0,
        authorization_webhook_cache_unauthorized_ttl_s=0.0,
        log_level="debug",
        log_format="json",
        log_rate=12,
    )


def test_every_field_has_a_flag() -> None:
    """Flags and fields are one to one."""
    assert [flag.key for flag in SERVE_FLAGS] == [field.name for field in fields(ServeOptions)]


def test_the_environment() -> None:
    """Every flag can be a variable; paths are separated as in PATH."""
    environ = {"SPILLWAY_CONFIG": "a:b:", "SPILLWAY_STANDALONE": "true", "SPILLWAY_SHUTDOWN_DELAY": "3"}
    options = parse(["serve"], environ)
    assert isinstance(options, ServeOptions)
    assert (options.config, options.standalone, options.shutdown_delay_s) == ((Path("a"), Path("b")), True, 3.0)


def test_a_flag_wins_over_the_environment() -> None:
    """What is on the command line counts, --config included."""
    environ = {"SPILLWAY_CONFIG": "a", "SPILLWAY_SECURE_PORT": "1", "SPILLWAY_LOG_LEVEL": "error"}
    options = serve("--secure-port", "2", environ=environ)
    assert (options.config, options.secure_port, options.log_level) == ((Path("metrics.yaml"),), 2, "error")


def test_service_links_are_not_taken_for_flags() -> None:
    """A Service named spillway-metrics does not set the metrics port."""
    assert serve(environ={"SPILLWAY_METRICS_PORT": "tcp://10.0.0.1:9090"}).metrics_port == 8080


@pytest.mark.parametrize("text", ["--standalone", "--standalone=true", "--standalone=1"])
def test_standalone_may_have_a_value(text: str) -> None:
    """A switch may be written as Kubernetes components write it."""
    assert serve(text).standalone


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--secure-port", "65536", 'must be a port from 0 to 65535, got "65536"'),
        ("--metrics-port", "http", 'must be a port from 0 to 65535, got "http"'),
        ("--bind-address", "localhost", 'must be an IP address, got "localhost"'),
        ("--shutdown-delay", "5 s", "must be a duration of at most 24h such as 5s or 1m30s, or whole seconds"),
        ("--shutdown-delay", "25h", "must be a duration of at most 24h"),
        ("--log-level", "verbose", 'must be one of debug, info, warning, error, got "verbose"'),
        ("--log-format", "xml", 'must be one of text, json, got "xml"'),
        ("--cert-dir", "", "must not be empty"),
    ],
)
def test_a_bad_value_names_its_flag_or_variable(
    capsys: pytest.CaptureFixture[str], flag: str, value: str, message: str
) -> None:
    """A bad value is refused in the name of what it came from, with what it must be."""
    assert f"argument {flag}: {message}" in refusal(capsys, *SERVE, flag, value)
    if value:  # an empty variable is one that is not set
        variable = f"SPILLWAY_{flag.removeprefix('--').upper().replace('-', '_')}"
        assert f"{variable} {message}" in refusal(capsys, *SERVE, environ={variable: value})


def test_every_bad_variable_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """All variables are read before giving up."""
    errors = refusal(capsys, *SERVE, environ={"SPILLWAY_SECURE_PORT": "x", "SPILLWAY_STANDALONE": "maybe"})
    assert 'SPILLWAY_SECURE_PORT must be a port from 0 to 65535, got "x"' in errors
    assert 'SPILLWAY_STANDALONE must be true or false, got "maybe"' in errors


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.1", "::", "2001:db8::1"])
def test_standalone_refuses_what_is_not_loopback(capsys: pytest.CaptureFixture[str], address: str) -> None:
    """Where nobody is authenticated, only this machine may ask; the refusal says why and what to do."""
    errors = refusal(capsys, *SERVE, "--bind-address", address)
    assert f"--bind-address {address} is not loopback" in errors
    assert "nobody is authenticated" in errors
    assert "Use --bind-address 127.0.0.1" in errors


def test_in_a_cluster_nothing_has_to_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Objects and the pod's account are enough; standalone needs files, and does without a kubeconfig."""
    assert isinstance(parse(["serve"], {}), ServeOptions)
    assert "--config (SPILLWAY_CONFIG) is required" in refusal(capsys, "serve", "--standalone")
    said = refusal(capsys, "serve", "--standalone", "--config", "a", "--kubeconfig", "k")
    assert "exclude each other" in said


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--share", "a", "must be FROM=TO"),
        ("--share", "A=b", "DNS-1123"),
        ("--reach-allow", "10.0.0.1/8", "must be an IP network"),
        ("--max-metrics-per-namespace", "0", "from 1 to 1000000"),
        ("--namespace", "a.b", "DNS-1123"),
        ("--cert-mode", "none", "must be one of self, files"),
    ],
)
def test_flags_of_a_cluster_say_what_they_take(
    capsys: pytest.CaptureFixture[str], flag: str, value: str, words: str
) -> None:
    """Each names the bound."""
    assert words in refusal(capsys, "serve", flag, value)


def test_every_problem_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A command line with several problems names each on a line of its own."""
    errors = refusal(
        capsys, "serve", "--standalone", "--tls-cert-file", "c", "--reach-allow", "10.0.0.0/8"
    ).splitlines()
    assert [error.removeprefix("spillway serve: error: ").split()[0] for error in errors] == [
        "--config",
        "--tls-cert-file",
        "--reach-allow",
    ]
    assert all(error.startswith("spillway serve: error: ") for error in errors)


def test_good_options_have_no_problems() -> None:
    """Standalone on loopback with a configuration can be served."""
    assert list(serve_problems(serve("--bind-address", "::1"))) == []


def test_check() -> None:
    """check takes paths, and probes on request."""
    assert parse(["check", "a", "b"], {}) == CheckOptions((Path("a"), Path("b")), probe=False)
    assert parse(["check", "--probe", "a"], {}) == CheckOptions((Path("a"),), probe=True)


def test_demo() -> None:
    """demo runs until it is stopped, or for a while; with a live view, or without."""
    assert parse(["demo"], {}) == DemoOptions(None, tty=True)
    assert parse(["demo", "--duration", "60", "--no-tty"], {}) == DemoOptions(60.0, tty=False)
    assert parse(["demo", "--duration", "1m30s"], {}) == DemoOptions(90.0, tty=True)


@pytest.mark.parametrize("argv", [(), ("check",), ("check", "--prob", "a"), ("server",), ("serve", "metrics.yaml")])
def test_incomplete_or_unknown_commands(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    """A command line that is no command is refused with its usage."""
    assert "usage: spillway" in refusal(capsys, *argv)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version and succeeds."""
    with pytest.raises(SystemExit) as exit_:
        parse(["--version"], {})
    assert exit_.value.code == 0
    assert capsys.readouterr().out.startswith("spillway ")


def test_options_are_frozen() -> None:
    """Nobody changes options after they were read."""
    with pytest.raises(FrozenInstanceError):
        serve().secure_port = 1  # type: ignore[misc]  # the point of the test
