"""The Pod Security Standard "restricted": what a namespace that enforces it refuses.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Spec = dict[str, Any]

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_PROFILES = ("RuntimeDefault", "Localhost")
_SELINUX = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")
_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}


def violations(pod: Spec) -> Iterator[str]:
    """Yield each field of a pod's spec that "restricted" forbids, or misses."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    for volume in pod.get("volumes") or ():
        if not volume.keys() - {"name"} <= _VOLUMES:
            yield f"volumes[{volume['name']}]"
    shared = pod.get("securityContext") or {}
    yield from _context(shared, "securityContext")
    for sysctl in shared.get("sysctls") or ():
        if sysctl["name"] not in _SYSCTLS:
            yield f"securityContext.sysctls[{sysctl['name']}]"
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind) or ():
            yield from _container(container, shared, f"{kind}[{container['name']}]")


def _container(container: Spec, shared: Spec, path: str) -> Iterator[str]:
    own = container.get("securityContext") or {}
    path = f"{path}.securityContext"
    yield from _context(own, path)
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield f"{path}.runAsNonRoot"
    profile = own.get("seccompProfile", shared.get("seccompProfile")) or {}
    if profile.get("type") not in _PROFILES:
        yield f"{path}.seccompProfile"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{path}.allowPrivilegeEscalation"
    if own.get("privileged"):
        yield f"{path}.privileged"
    if own.get("procMount", "Default") != "Default":
        yield f"{path}.procMount"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{path}.capabilities.drop"
    if not {*(capabilities.get("add") or ())} <= {"NET_BIND_SERVICE"}:
        yield f"{path}.capabilities.add"
    path = path.removesuffix(".securityContext")
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield f"{path}.ports.hostPort"
    hooks = [container.get(probe) or {} for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    hooks += [hook or {} for hook in (container.get("lifecycle") or {}).values()]
    if any((hook.get(how) or {}).get("host") for hook in hooks for how in ("httpGet", "tcpSocket")):
        yield f"{path}: a probe or hook of another host"


def _context(context: Spec, path: str) -> Iterator[str]:
    """Yield what is wrong with a field that pods and containers both have."""
    if context.get("runAsUser") == 0:
        yield f"{path}.runAsUser"
    if context.get("runAsNonRoot", True) is not True:
        yield f"{path}.runAsNonRoot"
    if (context.get("seccompProfile") or {"type": _PROFILES[0]}).get("type") not in _PROFILES:
        yield f"{path}.seccompProfile"
    if (context.get("appArmorProfile") or {"type": _PROFILES[0]}).get("type") not in _PROFILES:
        yield f"{path}.appArmorProfile"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in _SELINUX or selinux.get("user") or selinux.get("role"):
        yield f"{path}.seLinuxOptions"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{path}.windowsOptions"
