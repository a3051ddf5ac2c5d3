"""How are metrics read? As text over HTTP, from a registry of the process's own.

Must not know what is measured.
"""

from collections.abc import Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from checkpointheal_operator.measures.spec import Spec

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Register:
    """The metrics of one process, each made from its spec. Nothing of it is global."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

    def counter(self, spec: Spec) -> Counter:
        """What only grows."""
        return Counter(spec.name, spec.meaning, spec.labels, registry=self.registry)

    def gauge(self, spec: Spec) -> Gauge:
        """What goes up and down."""
        return Gauge(spec.name, spec.meaning, spec.labels, registry=self.registry)

    def histogram(self, spec: Spec) -> Histogram:
        """What is spread."""
        return Histogram(spec.name, spec.meaning, spec.labels, registry=self.registry, buckets=spec.buckets)

    def text(self) -> bytes:
        """All of it, as it is now."""
        return generate_latest(_WithoutBirths(self.registry))

    async def page(self, _request: web.Request) -> web.Response:
        """GET /metrics."""
        return web.Response(body=self.text(), headers={"Content-Type": TEXT})


class _WithoutBirths(Collector):
    """This text format has no place for when a series began: it would be a series more for each."""

    def __init__(self, behind: CollectorRegistry) -> None:
        self._behind = behind

    def collect(self) -> Iterable[Metric]:
        for metric in self._behind.collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric
