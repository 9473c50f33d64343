"""The command line: flags as in Kubernetes components, each also an environment variable. A flag wins.

`parse` is pure but for argparse's habit of printing and exiting: --help and --version exit with 0, mistakes with 2.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

from adapter.doctor_options import DoctorOptions, add_doctor, doctor_options
from adapter.explain_options import ExplainOptions, RecordOptions, add_explain, explain_options, record_options
from adapter.schema.durations import parse_duration
from adapter.simulate_options import SimulateOptions, add_simulate, simulate_options

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a server in a pod is for the whole pod network; standalone never uses it

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["text", "json"]
CertMode: TypeAlias = Literal["self", "files"]
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve. Ports: 0 is any free one."""

    config: tuple[Path, ...]
    bind_address: str
    secure_port: int
    tls_cert_file: Path | None
    tls_private_key_file: Path | None
    cert_dir: Path | None
    metrics_bind_address: str
    metrics_port: int
    explain_port: int
    standalone: bool
    shutdown_delay_s: float
    kubeconfig: Path | None
    namespace: str | None
    service_name: str
    lease_name: str
    cert_mode: CertMode
    patch_apiservice: bool
    strict_reach: bool
    reach_allow: tuple[IPNetwork, ...]
    share: tuple[tuple[str, str], ...]
    max_metrics_per_namespace: int
    max_metrics: int
    max_namespace_mib: int
    max_targets: int
    max_watches_per_namespace: int
    max_reads: int
    max_connections: int
    max_requests_inflight: int
    authentication_token_webhook_cache_ttl_s: float
    authorization_webhook_cache_authorized_ttl_s: float
    authorization_webhook_cache_unauthorized_ttl_s: float
    log_level: LogLevel
    log_format: LogFormat
    log_rate: int


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What to check; `probe`: read each source once."""

    paths: tuple[Path, ...]
    probe: bool


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """How to run the demo; `duration_s` None: until it is stopped."""

    duration_s: float | None
    tty: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of `serve`. `read` raises ValueError with what the text must be."""

    name: str
    read: Callable[[str], object]
    metavar: str
    help: str

    @property
    def option(self) -> str:
        """The flag on the command line: "--secure-port"."""
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        """The flag in the environment: "SPILLWAY_SECURE_PORT"."""
        return f"SPILLWAY_{self.name.upper().replace('-', '_')}"

    @property
    def key(self) -> str:
        """The field of ServeOptions: "secure_port", "shutdown_delay_s"."""
        return self.name.replace("-", "_") + ("_s" if self.read is _seconds else "")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
        raise ValueError(f'must be a port from 0 to 65535, got "{text}"')
    return int(text)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'must be an IP address, got "{text}"') from None


def _seconds(text: str) -> float:
    duration_ms = parse_duration(text if not (text.isascii() and text.isdigit()) else f"{text}s")
    if duration_ms is None or duration_ms > 86_400_000:
        raise ValueError(f'must be a duration of at most 24h such as 5s or 1m30s, or whole seconds, got "{text}"')
    return duration_ms / 1_000


def _path(text: str) -> Path:
    if not text:
        raise ValueError("must not be empty")
    return Path(text)


def _bool(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise ValueError(f'must be true or false, got "{text}"')
    return text.lower() in {"true", "1"}


def _name(text: str) -> str:
    if not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text):
        raise ValueError(f'must be a DNS-1123 label: lower-case letters, digits and -, got "{text}"')
    return text


def _network(text: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f'must be an IP network such as 10.20.0.0/16, got "{text}"') from None


def _share(text: str) -> tuple[str, str]:
    source, separator, destination = text.partition("=")
    if not separator:
        raise ValueError(f'must be FROM=TO, two namespaces, got "{text}"')
    return _name(source), _name(destination)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1_000_000):
        raise ValueError(f'must be a number from 1 to 1000000, got "{text}"')
    return int(text)


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f'must be one of {", ".join(choices)}, got "{text}"')
        return text

    return read


SERVE_FLAGS = (
    Flag("config", _path, "PATH", "ExternalMetric file, or directory of *.yaml and *.yml; repeat for more"),
    Flag("bind-address", _address, "IP", "address of the secure port (default 0.0.0.0; standalone 127.0.0.1)"),
    Flag("secure-port", _port, "PORT", "port of the API, HTTPS (default 6443)"),
    Flag("tls-cert-file", _path, "PATH", "certificate chain, PEM, read again when it changes (default self-signed)"),
    Flag("tls-private-key-file", _path, "PATH", "private key of the certificate, PEM"),
    Flag("cert-dir", _path, "DIR", "where a self-signed certificate is kept (default: in memory)"),
    Flag("metrics-bind-address", _address, "IP", "address of /metrics (default 0.0.0.0; standalone 127.0.0.1)"),
    Flag("metrics-port", _port, "PORT", "port of /metrics, plain HTTP (default 8080)"),
    Flag("explain-port", _port, "PORT", "port of explain, always on 127.0.0.1 (default 8081)"),
    Flag("standalone", _bool, "true|false", "no Kubernetes API, callers not authenticated; loopback only"),
    Flag("shutdown-delay", _seconds, "DURATION", "serve on after SIGTERM (default 5s; standalone 0s)"),
    Flag("kubeconfig", _path, "PATH", "outside a cluster: how to reach the Kubernetes API (default the pod's account)"),
    Flag("namespace", _name, "NAME", "namespace of Service, Lease and Secret (default the pod's, or spillway)"),
    Flag("service-name", _name, "NAME", "Service that the certificate is for (default spillway)"),
    Flag("lease-name", _name, "NAME", "Lease that says which replica writes (default spillway)"),
    Flag(
        "cert-mode", _one_of("self", "files"), "MODE", "self: own CA in a Secret; files: --tls-cert-file (default self)"
    ),
    Flag("patch-apiservice", _bool, "true|false", "set the caBundle of our APIService (default true)"),
    Flag("strict-reach", _bool, "true|false", "objects reach only their namespace and --reach-allow (default false)"),
    Flag("reach-allow", _network, "CIDR", "with --strict-reach: what every namespace may reach too; repeat for more"),
    Flag("share", _share, "FROM=TO", "let metrics of FROM that name TO in shareWith be read in TO; repeat for more"),
    Flag("max-metrics-per-namespace", _count, "N", "most ExternalMetric objects served of a namespace (default 1000)"),
    Flag("max-metrics", _count, "N", "most ExternalMetric objects served in all (default 10000)"),
    Flag("max-namespace-mib", _count, "MIB", "most memory for samples and labels of a namespace, MiB (default 512)"),
    Flag("max-targets", _count, "N", "most targets of a metric with selector or service (default 5000)"),
    Flag("max-watches-per-namespace", _count, "N", "most selectors and Services watched of a namespace (default 100)"),
    Flag("max-reads", _count, "N", "most reads of sources under way at once; a namespace a quarter (default 1024)"),
    Flag("max-connections", _count, "N", "most connections to the secure port (default 1000)"),
    Flag("max-requests-inflight", _count, "N", "most requests waiting for the Kubernetes API's word (default 400)"),
    Flag("authentication-token-webhook-cache-ttl", _seconds, "DURATION", "a token's holder is known for (default 10s)"),
    Flag("authorization-webhook-cache-authorized-ttl", _seconds, "DURATION", "a permission counts for (default 10s)"),
    Flag("authorization-webhook-cache-unauthorized-ttl", _seconds, "DURATION", "a refusal counts for (default 10s)"),
    Flag("log-level", _one_of("debug", "info", "warning", "error"), "LEVEL", "least level logged (default info)"),
    Flag("log-format", _one_of("text", "json"), "FORMAT", "text or json, one line a record (default text)"),
    Flag("log-rate", _count, "N", "most log lines a second, ten seconds' worth at once (default 100)"),
)

_REPEATED = frozenset({"config", "reach_allow", "share"})

_DEFAULTS: Mapping[str, object] = {
    "secure_port": 6443,
    "tls_cert_file": None,
    "tls_private_key_file": None,
    "cert_dir": None,
    "metrics_port": 8080,
    "explain_port": 8081,
    "standalone": False,
    "kubeconfig": None,
    "namespace": None,
    "service_name": "spillway",
    "lease_name": "spillway",
    "cert_mode": "self",
    "patch_apiservice": True,
    "strict_reach": False,
    "reach_allow": (),
    "share": (),
    "max_metrics_per_namespace": 1000,
    "max_metrics": 10_000,
    "max_namespace_mib": 512,
    "max_targets": 5_000,
    "max_watches_per_namespace": 100,
    "max_reads": 1024,
    "max_connections": 1000,
    "max_requests_inflight": 400,
    "authentication_token_webhook_cache_ttl_s": 10.0,
    "authorization_webhook_cache_authorized_ttl_s": 10.0,
    "authorization_webhook_cache_unauthorized_ttl_s": 10.0,
    "log_level": "info",
    "log_format": "text",
    "log_rate": 100,
}


def parse(
    argv: Sequence[str], environ: Mapping[str, str]
) -> ServeOptions | CheckOptions | DemoOptions | DoctorOptions | SimulateOptions | ExplainOptions | RecordOptions:
    """Read the command line (without the program's name) and the environment.

    Raises:
        SystemExit: 2 for a mistake, after naming the flag or variable on stderr; 0 after --help or --version.
    """
    root, serve = _parsers()
    given = root.parse_args(argv)
    match given.command:
        case "check":
            return CheckOptions(tuple(given.paths), given.probe)
        case "demo":
            return DemoOptions(given.duration, given.tty)
        case "doctor":
            return doctor_options(given)
        case "simulate":
            return simulate_options(given)
        case "explain":
            return explain_options(given)
        case "record":
            return record_options(given)
        case _:
            return _serve(serve, {**_from_environment(serve, environ), **_from_flags(given)})


def serve_defaults(given: Mapping[str, object]) -> ServeOptions:
    """Return the options with a default for each that was not given. Keys are field names."""
    standalone = bool(given.get("standalone"))
    address = LOOPBACK if standalone else EVERYWHERE
    values: dict[str, Any] = {
        **_DEFAULTS,
        "config": (),
        "bind_address": address,
        "metrics_bind_address": address,
        "shutdown_delay_s": 0.0 if standalone else 5.0,
        **given,
    }
    return ServeOptions(**values)


def serve_problems(options: ServeOptions) -> Iterator[str]:
    """Yield why these options cannot be served with."""
    if options.standalone and not options.config:
        yield "--config (SPILLWAY_CONFIG) is required with --standalone: a file or directory of ExternalMetric objects"
    if (options.tls_cert_file is None) != (options.tls_private_key_file is None):
        yield "--tls-cert-file and --tls-private-key-file must be given together"
    if options.cert_mode == "files" and options.tls_cert_file is None:
        yield "--cert-mode files needs --tls-cert-file and --tls-private-key-file"
    if options.reach_allow and not options.strict_reach:
        yield "--reach-allow is for --strict-reach: without it, objects reach all but the cluster's own addresses"
    if options.standalone and options.kubeconfig is not None:
        yield "--kubeconfig and --standalone exclude each other: standalone does without the Kubernetes API"
    if options.standalone and not ipaddress.ip_address(options.bind_address).is_loopback:
        yield (
            f"--bind-address {options.bind_address} is not loopback: with --standalone nobody is authenticated, and "
            f"whoever reaches the port may read every metric. Use --bind-address {LOOPBACK}, or leave it out"
        )


def _serve(parser: argparse.ArgumentParser, given: Mapping[str, object]) -> ServeOptions:
    options = serve_defaults(given)
    problems = list(serve_problems(options))
    if problems:
        _refuse(parser, problems)
    return options


def _from_flags(given: argparse.Namespace) -> dict[str, object]:
    values = {flag.key: getattr(given, flag.key) for flag in SERVE_FLAGS}
    return {key: tuple(value) if key in _REPEATED else value for key, value in values.items() if value is not None}


def _from_environment(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    problems = []
    for flag in SERVE_FLAGS:
        text = environ.get(flag.variable, "")
        if not text or _is_service_link(flag, text):
            continue
        try:
            if flag.key in _REPEATED:
                separator = os.pathsep if flag.key == "config" else ","
                values[flag.key] = tuple(flag.read(part) for part in text.split(separator) if part)
            else:
                values[flag.key] = flag.read(text)
        except ValueError as exc:
            problems.append(f"{flag.variable} {exc}")
    if problems:
        _refuse(parser, problems)
    return values


def _is_service_link(flag: Flag, text: str) -> bool:
    """Tell whether Kubernetes set the variable: a Service spillway-metrics makes SPILLWAY_METRICS_PORT=tcp://…:8080."""
    return flag.read is _port and text.startswith(("tcp://", "udp://", "sctp://"))


def _refuse(parser: argparse.ArgumentParser, problems: Sequence[str]) -> NoReturn:
    parser.exit(2, "".join(f"{parser.prog}: error: {problem}\n" for problem in problems))


def _argument(read: Callable[[str], object]) -> Callable[[str], object]:
    def convert(text: str) -> object:
        try:
            return read(text)
        except ValueError as exc:
            raise argparse.ArgumentTypeError(str(exc)) from None

    return convert


def _parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Return the whole parser and that of `serve`."""
    root = argparse.ArgumentParser(
        prog="spillway",
        description="External Metrics API server for Kubernetes: queue depths and request counters for plain HPAs.",
        allow_abbrev=False,
    )
    root.add_argument("--version", action="version", version=f"spillway {version('spillway')}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser(
        "serve",
        help="serve metrics to HPAs",
        description="Serve metrics to HPAs.",
        epilog=f"Each flag is also an environment variable, as --secure-port is SPILLWAY_SECURE_PORT; a flag wins. "
        f"SPILLWAY_CONFIG holds paths separated by {os.pathsep!r}, other lists are separated by commas.",
        allow_abbrev=False,
    )
    for flag in SERVE_FLAGS:
        bare: dict[str, Any] = {"nargs": "?", "const": True} if flag.read is _bool else {}
        serve.add_argument(
            flag.option,
            dest=flag.key,
            type=_argument(flag.read),
            action="append" if flag.key in _REPEATED else "store",
            metavar=flag.metavar,
            help=flag.help,
            **bare,
        )

    check = commands.add_parser(
        "check", help="validate configuration", description="Validate configuration.", allow_abbrev=False
    )
    check.add_argument("paths", nargs="+", type=_argument(_path), metavar="PATH", help="file or directory")
    check.add_argument(
        "--probe",
        action="store_true",
        help="read each source once and print what an HPA would get, and why",
    )

    demo = commands.add_parser(
        "demo", help="run a small shop that scales", description="Run a small shop that scales.", allow_abbrev=False
    )
    demo.add_argument("--duration", type=_argument(_seconds), metavar="S", help="end after this long (default: Ctrl-C)")
    demo.add_argument(
        "--no-tty", dest="tty", action="store_false", help="plain lines and a summary instead of the live view"
    )
    add_doctor(commands)
    add_simulate(commands)
    add_explain(commands)
    return root, serve
