// The load of locustfile.py for k6: a shop's customers and its HPAs, more and more of them.
//
//   spillway demo        # in another terminal; it prints its addresses
//   SHOP_URL=http://127.0.0.1:… API_URL=https://127.0.0.1:6443 k6 run --insecure-skip-tls-verify bench/load.k6.js
//
// An answer of the API is good if it is 200, 503 because the metric is unknown (the shop, too busy to show its counters),
// or 429; the latter with a Status and without Retry-After: clients of Kubernetes would retry ten times at its word. Any
// other one fails the run.

import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';

const shop = __ENV.SHOP_URL || 'http://127.0.0.1:8000';
const api = __ENV.API_URL || 'https://127.0.0.1:6443';
const read = '/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/';
const metrics = ['orders_backlog', 'web_requests'];

const reasons = { 429: 'TooManyRequests', 503: 'ServiceUnavailable' };

const shed = new Counter('shed');
const reads = new Trend('read_ms', true);

function ramp(...users) {
  return users.flatMap((target) => [
    { duration: '3s', target },
    { duration: '9s', target },
  ]);
}

export const options = {
  scenarios: {
    customers: { executor: 'ramping-vus', exec: 'order', stages: ramp(3, 15, 45, 70) },
    readers: { executor: 'ramping-vus', exec: 'readMetric', stages: ramp(47, 285, 855, 1330) },
  },
  thresholds: { 'checks{kind:read}': ['rate==1'] },
};

// Think times as people and clocks have them: Gaussian (Box and Muller), never below a tenth of the mean.
function think(mean, deviation) {
  const radius = Math.sqrt(-2 * Math.log(1 - Math.random()));
  sleep(Math.max(mean / 10, mean + deviation * radius * Math.cos(2 * Math.PI * Math.random())));
}

export function order() {
  const response = http.get(`${shop}/`, { tags: { name: 'order' } });
  check(response, { 'served, or full': (r) => r.status === 200 || r.status === 503 }, { kind: 'order' });
  think(4, 1);
}

export function readMetric() {
  const metric = metrics[Math.floor(Math.random() * metrics.length)];
  const headers = { Accept: 'application/json, */*', 'X-Remote-User': 'system:kube-controller-manager' };
  const response = http.get(api + read + metric, { headers, tags: { name: 'read' } });
  reads.add(response.timings.duration);
  shed.add(response.status === 429 ? 1 : 0);
  check(
    response,
    {
      '200, or 429 or 503 with a Status': (r) => r.status === 200 || reasons[r.status] === r.json('reason'),
      'no Retry-After': (r) => r.headers['Retry-After'] === undefined,
    },
    { kind: 'read' },
  );
  think(1, 0.25);
}
