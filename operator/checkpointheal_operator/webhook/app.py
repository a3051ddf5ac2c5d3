"""How does the API server reach the webhook?

One route over HTTP. Whatever goes wrong here, pods are made: a fault of ours lets the pod be, and what is no review at
all gets a status that the API server passes over. Must not know what is injected.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from pydantic import ValidationError

from checkpointheal.contract.log_lines import about
from checkpointheal_operator.core.injection_settings import InjectionSettings
from checkpointheal_operator.measures.reviewing import WebhookMetrics
from checkpointheal_operator.webhook.review import AdmissionRequest, Answer, read, review, spare

log = logging.getLogger("checkpointheal.webhook")

REVIEW_LIMIT = 4 << 20
"""Bytes. An object has at most 1.5 MB, and a review may hold it twice."""
LARGE, LARGE_AT_ONCE = 64 << 10, 4
"""Bytes of a review that waits for its turn to be read: anybody may send one, and all of them lie in memory."""
BUDGET_SECONDS = 2.0
"""For a review to come whole. The API server waits no longer as a rule, and makes the pod without us."""


def make_app(
    settings: Callable[[], InjectionSettings],
    metrics: WebhookMetrics,
    clock: Callable[[], float],
    known: Callable[[RequestHandler], None] = lambda _protocol: None,
) -> web.Application:
    """The webhook as an aiohttp application. `settings` is asked at every review: its files may have changed.

    `known` is told by which protocol a review came that could be read.
    """
    turns = asyncio.Semaphore(LARGE_AT_ONCE)

    async def mutate(request: web.Request) -> web.Response:
        began = clock()
        asked = await _asked(request, metrics, turns)
        known(request.protocol)
        answer = _decide(asked, settings)
        metrics.answered(answer.outcome, clock() - began)
        if answer.refusal is not None:
            facts = about(namespace=asked.namespace, pod=asked.pod, reason=answer.refusal.reason)
            log.warning("a pod gets no agent: %s", answer.refusal.message, extra=facts)
        return web.json_response(answer.body)

    app = web.Application(client_max_size=REVIEW_LIMIT)
    app.add_routes([web.post("/mutate", mutate), web.get("/healthz", healthy)])
    return app


def make_open_app(metrics: WebhookMetrics) -> web.Application:
    """Metrics, and a probe: without TLS, beside the webhook and in the same loop, so that it answers as it does."""
    app = web.Application()
    app.add_routes([web.get("/metrics", metrics.page), web.get("/healthz", healthy)])
    return app


async def healthy(_: web.Request) -> web.Response:
    """A loop that answers is healthy; of one that is stuck, the probe's patience ends."""
    return web.Response(text="ok\n")


async def _asked(request: web.Request, metrics: WebhookMetrics, turns: asyncio.Semaphore) -> AdmissionRequest:
    is_small = request.content_length is not None and request.content_length <= LARGE
    try:
        async with asyncio.timeout(BUDGET_SECONDS), contextlib.nullcontext() if is_small else turns:
            body = await request.read()
        return read(body)
    except TimeoutError as error:
        metrics.unread("late")
        raise web.HTTPRequestTimeout(text="the review did not arrive in time") from error
    except ConnectionError as error:
        raise web.HTTPBadRequest(text="it left in the middle of its review") from error
    except web.HTTPRequestEntityTooLarge:
        metrics.unread("oversize")
        raise
    except ValidationError as error:
        metrics.unread("malformed")
        first = error.errors(include_input=False, include_url=False)[0]
        raise web.HTTPBadRequest(text=f"this is no AdmissionReview of v1: {first['loc']}: {first['msg']}") from error


def _decide(asked: AdmissionRequest, settings: Callable[[], InjectionSettings]) -> Answer:
    try:
        return review(asked, settings())
    except Exception:  # the outermost loop: whatever it is, it must not keep a pod from being made
        facts = about(namespace=asked.namespace, pod=asked.pod)
        log.exception("review %s failed: the pod is made without an agent", asked.uid, extra=facts)
        return spare(asked)
