"""Who is asked what to decide: anything with a `decide`, or a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

import anyio
import anyio.lowlevel
import anyio.to_thread

from orchestrator.escalation.answer import CHARACTERS_PER_TOKEN, Price, Verdict, read_answer, response_format
from orchestrator.escalation.plain import Redact, plain
from orchestrator.escalation.question import INSTRUCTIONS, REASON_LENGTH, Preview, question_text
from orchestrator.events import ModelAsked
from orchestrator.nodes.classify import classify
from orchestrator.redact import Redactor
from orchestrator.spec.models import ModelSpec

if TYPE_CHECKING:
    import httpx2

    from orchestrator.escalation.client import Client

__all__ = ("DecisionModel", "OpenAIModel")

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"
"""Sent where no key is configured: many local servers ask for none, and the client will not go without."""

ANSWER_TOKENS = 1_024
"""Longest answer: a reason, a choice and the largest value that may be supplied."""
THINKING_TOKENS = 4_096
"""The same of OpenAI's own models, which count the tokens that they think with."""


class DecisionModel(Protocol):
    """What is asked where no feasible route is left and the policy lets a model decide."""

    name: str
    """How it is called in records and traces: the name under ``models:``."""

    async def decide(
        self,
        question: ModelAsked,
        preview: Preview,
        *,
        timeout: float,  # noqa: ASYNC109  # running out of time is a verdict, not an error
        usd_left: float | None,
    ) -> Verdict:
        """Answer *question*, within *timeout* seconds and for at most *usd_left* US dollars.

        Never raises, except for a cancellation: a failure is a verdict with an error.

        Args:
            question: What is the case, and what may be chosen.
            preview: Gives the whole text of a held value, by (value, provider).
            timeout: Seconds for everything.
            usd_left: What may still be spent; None: without limit.
        """

    async def aclose(self) -> None:
        """Close what was opened. The model can be asked again afterwards."""


class OpenAIModel:
    """A model behind an OpenAI-compatible endpoint. One question is one request: nothing is retried.

    Args:
        name: How it is called in records and traces.
        spec: The endpoint, as it stands under ``models:``.
        redact: Hides secrets in what is asked and in what comes back; the endpoint's own key is hidden anyway.
        http_client: Carries the requests, and stays open; default: connections of its own, one pool per event loop.
    """

    def __init__(
        self, name: str, spec: ModelSpec, *, redact: Redact, http_client: httpx2.AsyncClient | None = None
    ) -> None:
        self.name = name
        self._spec = spec
        key = Redactor([spec.api_key or ""])
        self._redact: Redact = lambda text: key.redact(redact(text))
        self._price = Price(spec.usd_per_mtok.get("input", 0.0), spec.usd_per_mtok.get("output", 0.0))
        self._http_client = http_client
        self._clients: WeakKeyDictionary[object, Client] = WeakKeyDictionary()

    async def decide(
        self,
        question: ModelAsked,
        preview: Preview,
        *,
        timeout: float,  # noqa: ASYNC109  # running out of time is a verdict, not an error
        usd_left: float | None,
    ) -> Verdict:
        """Ask the model; see `DecisionModel.decide`."""
        text = question_text(question, preview, redact=self._redact)
        request = self._request(question, text)
        asked = math.ceil((len(INSTRUCTIONS) + len(text)) / CHARACTERS_PER_TOKEN)
        usd = self._price.usd(asked)
        if usd_left is not None and usd > usd_left:
            reason = f"the question alone costs about ${usd:.4g}, and ${max(usd_left, 0.0):.4g} are left"
            return Verdict(None, reason=reason, error="budget")
        if self._spec.base_url is None and self._spec.api_key is None:
            reason = f'the model {self.name} has neither base_url: nor api_key: (write api_key: "${{OPENAI_API_KEY}}")'
            return Verdict(None, reason=reason, error="not_configured")
        sent = 0
        try:
            with anyio.fail_after(max(timeout, 0.0)):
                client = await self._client()
                sent = 1
                body = await client.complete(request, timeout)
        except ImportError:
            reason = "the openai package is not installed: pip install 'orchestrator-runtime[model]'"
            return Verdict(None, reason=reason, error="not_configured")
        except TimeoutError:
            # A question that was sent is paid for, whether or not its answer is waited for.
            return Verdict(None, reason=f"no answer within {timeout:g} s", error="timeout", calls=sent, usd=sent * usd)
        except Exception as error:
            return self._failed(error, sent, usd)
        return read_answer(body, question, asked=asked, price=self._price, redact=self._redact)

    async def aclose(self) -> None:
        """Close the connections of the running event loop; the next question opens new ones."""
        client = self._clients.pop(anyio.lowlevel.current_token().native_token, None)
        if client is not None and self._http_client is None:
            await client.close()

    def _request(self, question: ModelAsked, text: str) -> dict[str, Any]:
        # What OpenAI's own models take and what other servers know is not the same: a thinking model refuses a
        # temperature, and `max_completion_tokens` is not known everywhere.
        compatible = self._spec.base_url is not None
        limits = (
            {"max_tokens": ANSWER_TOKENS, "temperature": 0}
            if compatible
            else {"max_completion_tokens": THINKING_TOKENS}
        )
        return {
            "model": self._spec.model,
            "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": text}],
            "response_format": response_format(question, bounded=compatible),
            **limits,
        }

    async def _client(self) -> Client:
        loop = anyio.lowlevel.current_token().native_token
        client = self._clients.get(loop)
        if client is None:
            # It takes a second to load, in which the runs of this process shall go on.
            module = await anyio.to_thread.run_sync(
                importlib.import_module, "orchestrator.escalation.client", abandon_on_cancel=True
            )
            client = module.connect(self._spec.base_url or OPENAI_URL, self._spec.api_key or NO_KEY, self._http_client)
            self._clients[loop] = client
        return client

    def _failed(self, error: Exception, sent: int, usd: float) -> Verdict:
        """Return the verdict of a question that came to nothing."""
        if type(error).__name__ == "AnswerTooLong":
            return Verdict(None, reason=str(error), error="invalid", calls=sent, usd=sent * usd)
        failure = classify(error, redact=self._redact)
        answered = getattr(error, "response", None) is not None
        left = sent and (answered or failure.happened != "no" or failure.type not in ("timeout", "connection"))
        # The client says "Connection error."; what happened is its cause.
        reason = failure.message if error.__cause__ is None else f"{failure.message} {error.__cause__}"
        return Verdict(
            None,
            reason=plain(reason, REASON_LENGTH, self._redact),
            error=failure.type,
            calls=int(left),
            usd=usd if left and not answered and failure.type == "timeout" else 0.0,
        )
