"""An example of each part of the schema, as YAML, for the reference. Each is loaded by a test; every field is in one.

A part that only an object of the cluster may have stands in an example of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "ExternalMetric": (
        """\
apiVersion: spillway.dev/v1alpha1
kind: ExternalMetric
metadata:
  name: orders-backlog
  namespace: shop
  labels: {team: orders}
  annotations: {example.com/runbook: "https://wiki.shop/orders"}
spec:
  source: {redis: {url: "redis://redis.shop", queues: [{list: orders}]}}
""",
    ),
    "Metadata": (
        'name: orders-backlog\nnamespace: shop\nlabels: {team: orders}\nannotations: {example.com/owner: "Ada"}\n',
    ),
    "ExternalMetricSpec": (
        """\
metricName: web_requests
interval: 10s
timeout: 2s
source: {scrape: {targets: {urls: ["http://10.0.0.7:8080/metrics"]}, metric: http_requests_total}}
signal: {function: rate, window: 1m}
aggregate: {by: [code], with: sum}
guard: {min: 1, max: 5000}
whenUnknown: {maxAge: 2m, then: error}
shareWith: [reports]
maxSeries: 500
""",
    ),
    "Source": (
        'redis: {url: "redis://redis.shop", queues: [{list: orders}]}\n',
        'scrape: {targets: {urls: ["http://web.shop/metrics"]}, metric: http_requests_total}\n',
        "static: {series: [{value: 5}]}\n",
    ),
    "RedisSource": (
        """\
url: rediss://redis.shop:6380/2
auth: {username: spillway, passwordFile: /etc/spillway/redis-password}
tls: {caFile: /etc/spillway/redis-ca.pem}
queues: [{list: orders}, {stream: events, group: workers}]
onMissing: zero
onMissingGroup: all
""",
        "sentinel: {addresses: [sentinel-0.shop, sentinel-1.shop], master: mymaster}\nqueues: [{list: orders}]\n",
        "cluster: {addresses: [redis-cluster.shop]}\nqueues: [{list: orders}]\n",
        "socket: {path: /run/redis/redis.sock}\nqueues: [{list: orders}]\n",
    ),
    "RedisSentinel": (
        """\
addresses: [sentinel-0.shop, "sentinel-1.shop:26380"]
master: mymaster
database: 1
auth: {passwordEnv: SENTINEL_PASSWORD}
tls: {serverName: sentinel.shop}
""",
    ),
    "RedisCluster": ('addresses: [redis-0.shop, "redis-1.shop:7000"]\n',),
    "RedisSocket": ("path: /run/redis/redis.sock\ndatabase: 3\n",),
    "RedisAuth": (
        "username: spillway\npasswordFile: /etc/spillway/redis-password\n",
        "usernameFile: /etc/redis-auth/username\npasswordEnv: REDIS_PASSWORD\n",
        "secretRef: {name: redis-auth}\n",
    ),
    "Tls": (
        """\
caFile: /etc/tls/ca.pem
serverName: redis.shop
certFile: /etc/tls/tls.crt
keyFile: /etc/tls/tls.key
""",
        "caSecretRef: {name: redis-ca}\n",
        "insecureSkipVerify: true\n",
    ),
    "SecretRef": ("name: redis-auth\n",),
    "RedisQueue": (
        'list: "bull:mail:wait"\nlabels: {queue: mail}\nonMissing: unknown\n',
        "set: waiting\n",
        "sortedSet: delayed\n",
        "hash: in-progress\n",
        "stream: events\ngroup: workers\ncount: [waiting]\nonMissingGroup: all\n",
        'glob: "orders:*:wait"\ntype: list\nlabels: {queue: "$1"}\n',
    ),
    "ScrapeSource": (
        """\
targets: {urls: ["https://web-0.shop/metrics", "https://web-1.shop/metrics"]}
metric: http_requests_total
match: 'code!~"5..",path="/orders"'
minCoverage: 0.5
maxBytes: 4194304
auth: {bearerTokenFile: /etc/spillway/web-token}
tls: {caFile: /etc/spillway/web-ca.pem}
""",
    ),
    "ScrapeTargets": (
        'urls: ["http://10.0.0.7:8080/metrics", "http://10.0.0.8:8080/metrics"]\n',
        "selector: {matchLabels: {app: web}}\nport: metrics\npath: /stats/prometheus\nscheme: https\n",
        "service: web\nport: 8080\n",
    ),
    "PodSelector": (
        """\
matchLabels: {app: web}
matchExpressions:
- {key: tier, operator: In, values: [front, back]}
- {key: canary, operator: DoesNotExist}
""",
    ),
    "Requirement": ("key: tier\noperator: NotIn\nvalues: [test]\n",),
    "ScrapeAuth": (
        "bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token\n",
        "username: scraper\npasswordFile: /etc/spillway/web-password\n",
        "secretRef: {name: web-auth}\n",
    ),
    "StaticSource": ("series:\n- {labels: {queue: orders}, value: 12}\n- {labels: {queue: mail}, value: 0.5}\n",),
    "StaticSeries": ("labels: {queue: orders}\nvalue: 12\n",),
    "SignalSpec": (
        "function: rate\nwindow: 1m\ncounterStart: zero\nfullWindow: true\n",
        "function: histogram_quantile\nwindow: 5m\nquantile: 0.95\n",
        "function: predict_linear\nwindow: 30m\nahead: 10m\n",
    ),
    "AggregateSpec": ("by: [queue, app.kubernetes.io/name]\nwith: max\n",),
    "GuardSpec": ("min: 1\nmax: 100000\n", "maxStep: 5000\nfallHalfLife: 2m\n"),
    "WhenUnknownSpec": ("maxAge: 90s\nthen: error\n", "then: hold\nholdFor: 30m\n", "then: floor\nfloor: 10\n"),
}
"""Model → examples of it."""
