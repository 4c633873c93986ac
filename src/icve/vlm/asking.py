"""Asks the endpoint patiently: what is known is not asked, what fails is tried again, nonsense is asked for again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from icve.vlm.answers import Answers, Spent
from icve.vlm.client import Client, Reply, Trouble
from icve.vlm.config import VlmConfig
from icve.vlm.health import Health
from icve.vlm.questions import Part, Question, body
from icve.vlm.records import Refused, Usage
from icve.vlm.schema import Answer, Unusable, json_schema, read_answer

# What makes an answer JSON, the strictest first; which of them an endpoint knows shows when it is first asked.
FORMATS = ("json_schema", "json_object", "")
TOO_MANY = 429  # HTTP's status
UNKNOWN_FORMAT = {400, 422, 501}  # statuses with which a response format that is not known is rejected

Content = Callable[[], Awaitable[list[Part]]]


@dataclass(frozen=True)
class Unanswered:
    """A question that used up its retries; whose fault that is, `Health` will tell."""

    question: Question
    trouble: Trouble


Outcome = Answer | Refused | Unanswered


class Asker:
    """Asks questions, each at most once at a time; used in the event loop's thread only."""

    def __init__(self, config: VlmConfig, client: Client, answers: Answers, health: Health, usage: Usage) -> None:
        """
        Args:
            config: how patiently.
            client: to ask with.
            answers: kept from earlier, and to keep new ones in.
            health: learns how it goes.
            usage: is counted up.
        """
        self.config, self.client, self.answers, self.health, self.usage = config, client, answers, health, usage
        self.requests = asyncio.Semaphore(config.concurrency)
        self.asking: dict[str, asyncio.Task[Outcome]] = {}
        self.format = 0  # of FORMATS
        self.format_known = False
        self.asked_again: set[str] = set()  # keys of refused questions that this run has asked again

    async def ask(self, question: Question, content: Content) -> Outcome:
        """The answer to a question.

        Args:
            question: what is asked.
            content: makes the message; called only where the answer is not known.
        """
        task = self.asking.get(question.key)
        if task is None:
            known = self._known(question)
            if known is not None:
                self.usage.cached += 1
                return known
            task = asyncio.create_task(self._ask(question, content))
            self.asking[question.key] = task
            task.add_done_callback(lambda task: self._done(question, task))
        # Somebody else may wait for the same answer, so whoever waits no longer does not end it.
        return await asyncio.shield(task)

    def refuse(self, unanswered: Unanswered, keep: bool) -> Refused:
        """Gives a question up; `keep` says for good."""
        trouble = unanswered.trouble
        rejected = not trouble.again and not trouble.down
        kind = "rejected by the endpoint" if rejected else "no answer"
        refused = Refused(kind, f"Asked for {unanswered.question.about}, the endpoint {trouble.reason}.")
        if keep and rejected:
            self.answers.put(unanswered.question.key, refused, Spent())
        return refused

    def _done(self, question: Question, task: asyncio.Task[Outcome]) -> None:
        del self.asking[question.key]
        if not task.cancelled():
            task.exception()  # so that asyncio does not print what whoever waited has seen, or no longer wants to

    def _known(self, question: Question) -> Answer | Refused | None:
        kept = self.answers.get(question.key)
        if isinstance(kept, str):
            return question.shape.model_validate_json(kept)
        if kept is not None and self.config.ask_refused and question.key not in self.asked_again:
            self.asked_again.add(question.key)
            return None
        return kept

    async def _ask(self, question: Question, content: Content) -> Outcome:
        parts = await content()
        spent = Spent()
        async with self.requests:
            for number in range(self.config.reasks + 1):
                self.usage.retries += number > 0
                reply = await self._request(body(self.config, parts, number, question.seed), question)
                if isinstance(reply, Trouble):
                    self.health.failed(reply)
                    return Unanswered(question, reply)
                self._count(reply, spent)
                read = self._read(reply, question)
                if isinstance(read, Answer):
                    self.answers.put(question.key, read.model_dump_json(), spent)
                    self.health.judged(None)
                    return read
                problem, declined = read, reply.declined
                if declined:
                    break
        refused = Refused(problem.kind, f"Asked for {question.about}, the model's answer {problem.reason}.")
        self.answers.put(question.key, refused, spent)
        if not declined:  # which says something about the pictures, not about the model
            self.health.judged(problem.reason)
        return refused

    def _read(self, reply: Reply, question: Question) -> Answer | Unusable:
        if reply.declined:
            return Unusable("declined by the model", "was that it declines")
        read = read_answer(question.shape, reply.content)
        if isinstance(read, Unusable) and reply.cut:
            return Unusable("answer cut off", f"was cut off after {self.config.max_tokens} tokens (max_tokens)")
        return read

    async def _request(self, request: dict[str, Any], question: Question) -> Reply | Trouble:
        """One reply, after as many retries as it takes and there may be."""
        number, others = 0, self.health.answers
        while True:
            reply = await self._in_known_format(request, question)
            if isinstance(reply, Reply):
                self.health.answered()
                return reply
            if not reply.again:
                return reply
            if number >= self.config.retries:
                # Too many requests is never one question's fault: it waits as long as others get through.
                if reply.status != TOO_MANY or self.health.answers == others:
                    return reply
                number, others = 0, self.health.answers
            await asyncio.sleep(pause(self.config, question.key, number, reply.wait))
            number += 1
            self.usage.retries += 1

    async def _in_known_format(self, request: dict[str, Any], question: Question) -> Reply | Trouble:
        """One request; before the endpoint has taken any, one for each response format until it takes one."""
        number = self.format
        while True:
            self.usage.requests += 1
            reply = await self.client.post(request | response_format(FORMATS[number], question))
            if isinstance(reply, Reply):
                if not self.format_known:
                    self.format, self.format_known = number, True
                return reply
            if reply.status not in UNKNOWN_FORMAT or (self.format_known and number >= self.format):
                return reply
            number += 1
            if number == len(FORMATS):
                return reply

    def _count(self, reply: Reply, spent: Spent) -> None:
        spent.requests += 1
        spent.prompt_tokens += reply.prompt_tokens
        spent.completion_tokens += reply.completion_tokens
        usage, config = self.usage, self.config
        usage.prompt_tokens += reply.prompt_tokens
        usage.completion_tokens += reply.completion_tokens
        usage.cost = (usage.prompt_tokens * config.price_in + usage.completion_tokens * config.price_out) / 1e6


def pause(config: VlmConfig, key: str, number: int, wanted: float = 0.0) -> float:
    """Seconds before a retry: doubled each time, and spread so that requests do not come back all at once.

    Args:
        config: with its seed, backoff and longest_wait.
        key: of the question.
        number: of retries before, from 0.
        wanted: seconds that the endpoint asks for.
    """
    spread = random.Random(f"{config.seed} {key} {number}").uniform(0.5, 1.0)
    return min(max(config.backoff * 2.0 ** min(number, 30) * spread, wanted), config.longest_wait)


def response_format(name: str, question: Question) -> dict[str, Any]:
    """The field of a request that asks for JSON."""
    if name == "json_schema":
        schema = {"name": question.shape.__name__.lower(), "schema": json_schema(question.shape), "strict": True}
        return {"response_format": {"type": name, "json_schema": schema}}
    return {"response_format": {"type": name}} if name else {}
