"""Where a secret variable may go: in a header, to its own host; anywhere else only where somebody has said so.

A document names the variable and the address, so it could be written to send a key to its author. What decides is therefore
nothing of the document: this table, the user's own `X_BASE_URL`, what Python allowed, and what was answered when asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx

from composemagic.allowance import destination, is_granted
from composemagic.errors import RunError, UsageError
from composemagic.language.secret import Secret, secrets_in
from composemagic.transport import remembered
from composemagic.transport.address import is_loopback, shown
from composemagic.transport.secrets import masked_with
from composemagic.words import say

__all__ = ["OWN_HOSTS", "Use", "is_permitted", "origin_of", "own_hosts", "question", "refusal", "uses"]

# where the providers' own documentation sends these variables
OWN_HOSTS: Mapping[str, tuple[str, ...]] = {
    "AI21_API_KEY": ("api.ai21.com",),
    "ANTHROPIC_API_KEY": ("api.anthropic.com",),
    "ANTHROPIC_AUTH_TOKEN": ("api.anthropic.com",),
    "ARK_API_KEY": ("ark.cn-beijing.volces.com",),
    "ASSEMBLYAI_API_KEY": ("api.assemblyai.com",),
    "BAICHUAN_API_KEY": ("api.baichuan-ai.com",),
    "BRAVE_API_KEY": ("api.search.brave.com",),
    "CEREBRAS_API_KEY": ("api.cerebras.ai",),
    "COHERE_API_KEY": ("api.cohere.com", "api.cohere.ai"),
    "CO_API_KEY": ("api.cohere.com", "api.cohere.ai"),
    "DASHSCOPE_API_KEY": ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"),
    "DEEPGRAM_API_KEY": ("api.deepgram.com",),
    "DEEPINFRA_API_KEY": ("api.deepinfra.com",),
    "DEEPINFRA_TOKEN": ("api.deepinfra.com",),
    "DEEPL_API_KEY": ("api.deepl.com", "api-free.deepl.com"),
    "DEEPSEEK_API_KEY": ("api.deepseek.com",),
    "ELEVENLABS_API_KEY": ("api.elevenlabs.io",),
    "FIREWORKS_API_KEY": ("api.fireworks.ai",),
    "GEMINI_API_KEY": ("generativelanguage.googleapis.com",),
    "GITHUB_TOKEN": ("api.github.com", "models.github.ai"),
    "GH_TOKEN": ("api.github.com", "models.github.ai"),
    "GOOGLE_API_KEY": ("generativelanguage.googleapis.com",),
    "GROQ_API_KEY": ("api.groq.com",),
    "HF_TOKEN": ("router.huggingface.co", "api-inference.huggingface.co", "huggingface.co"),
    "HUGGINGFACEHUB_API_TOKEN": ("router.huggingface.co", "api-inference.huggingface.co", "huggingface.co"),
    "HUGGING_FACE_HUB_TOKEN": ("router.huggingface.co", "api-inference.huggingface.co", "huggingface.co"),
    "HUNYUAN_API_KEY": ("api.hunyuan.cloud.tencent.com",),
    "HYPERBOLIC_API_KEY": ("api.hyperbolic.xyz",),
    "JINA_API_KEY": ("api.jina.ai", "r.jina.ai", "s.jina.ai"),
    "LLAMA_API_KEY": ("api.llama.com",),
    "MINIMAX_API_KEY": ("api.minimax.io", "api.minimaxi.com", "api.minimax.chat"),
    "MISTRAL_API_KEY": ("api.mistral.ai", "codestral.mistral.ai"),
    "MODELSCOPE_API_KEY": ("api-inference.modelscope.cn",),
    "MOONSHOT_API_KEY": ("api.moonshot.cn", "api.moonshot.ai"),
    "NEBIUS_API_KEY": ("api.studio.nebius.ai", "api.studio.nebius.com"),
    "NOVITA_API_KEY": ("api.novita.ai",),
    "NVIDIA_API_KEY": ("integrate.api.nvidia.com", "ai.api.nvidia.com"),
    "OLLAMA_API_KEY": ("ollama.com",),
    "OPENAI_API_KEY": ("api.openai.com", "us.api.openai.com", "eu.api.openai.com"),
    "OPENROUTER_API_KEY": ("openrouter.ai",),
    "PERPLEXITY_API_KEY": ("api.perplexity.ai",),
    "PPLX_API_KEY": ("api.perplexity.ai",),
    "QIANFAN_API_KEY": ("qianfan.baidubce.com",),
    "REPLICATE_API_TOKEN": ("api.replicate.com",),
    "SAMBANOVA_API_KEY": ("api.sambanova.ai",),
    "SILICONFLOW_API_KEY": ("api.siliconflow.cn", "api.siliconflow.com"),
    "STABILITY_API_KEY": ("api.stability.ai",),
    "STEPFUN_API_KEY": ("api.stepfun.com", "api.stepfun.ai"),
    "TAVILY_API_KEY": ("api.tavily.com",),
    "TOGETHER_API_KEY": ("api.together.xyz", "api.together.ai"),
    "UPSTAGE_API_KEY": ("api.upstage.ai",),
    "VOYAGE_API_KEY": ("api.voyageai.com",),
    "XAI_API_KEY": ("api.x.ai",),
    "YI_API_KEY": ("api.lingyiwanwu.com",),
    "ZAI_API_KEY": ("api.z.ai", "open.bigmodel.cn"),
    "ZHIPU_API_KEY": ("open.bigmodel.cn", "api.z.ai"),
    "ZHIPUAI_API_KEY": ("open.bigmodel.cn", "api.z.ai"),
}


@dataclass(frozen=True, slots=True)
class Use:
    """A variable that a request would carry: to which origin, and in which place of it."""

    name: str
    origin: str
    place: str


def uses(url: Any, headers: Mapping[str, Any], body: Any) -> tuple[Use, ...]:
    """The secrets that a request would carry, each place once. Raises RunError for one in the address's host."""
    origin, in_address = _in_address(url)
    found = [*in_address]
    found += [(name, "header") for secret in secrets_in(headers) for name in secret.names]
    found += [(name, "body") for secret in secrets_in(body) for name in secret.names]
    return tuple(Use(name, origin, place) for name, place in dict.fromkeys(found))


def _in_address(url: Any) -> tuple[str, list[tuple[str, str]]]:
    """The origin, and the names in an address with their place: where it changes when the secrets do."""
    if not isinstance(url, Secret):
        origin = _known_origin(str(url))
        if not origin.startswith(("https://", "http://")) or origin.endswith("//"):
            raise RunError("url", say("`{url}` is no http:// or https:// address", url=shown(str(url))))
        return origin, []
    first, other = _read(masked_with(url, "a1")), _read(masked_with(url, "b2"))
    if _origin(first) != _origin(other) or not first.host or first.userinfo or other.userinfo:
        raise RunError(
            "secret",
            say("`{names}` is a secret and cannot stand in the host of an address", names=", ".join(url.names)),
        )
    places = [("path", first.path != other.path), ("query", first.query != other.query)]
    return _origin(first), [(name, place) for place, is_there in places if is_there for name in url.names]


@lru_cache(maxsize=64)  # a workflow asks the same few addresses again and again
def _known_origin(url: str) -> str:
    return origin_of(url)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, as the network will read it."""
    return _origin(_read(url))


def _read(text: str) -> httpx.URL:
    """The address; one that cannot be read has no host, and is refused when it is asked."""
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError, TypeError):
        return httpx.URL("")


def _origin(url: httpx.URL) -> str:
    host = url.raw_host.decode("ascii", "replace")
    written = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{written}" + (f":{url.port}" if url.port is not None else "")


# -- who decides ---------------------------------------------------------------------------------------------------------


def is_permitted(use: Use, env: Mapping[str, Any]) -> bool:
    """Whether a variable may go there without a question."""
    return (
        (use.place == "header" and _is_own(use, env))
        or is_granted(use.name, use.origin, use.place)
        or remembered.has(use.name, use.origin, use.place)
    )


def _is_own(use: Use, env: Mapping[str, Any]) -> bool:
    scheme, _, host = use.origin.partition("://")
    if is_loopback(host) or (scheme == "https" and host in OWN_HOSTS.get(use.name, ())):
        return True
    return use.origin in _by_address(use.name, env)


def own_hosts(name: str, env: Mapping[str, Any]) -> tuple[str, ...]:
    """The origins that are a variable's own: by the table, and by `X_BASE_URL` where `X_API_KEY` is meant."""
    known = tuple(f"https://{host}" for host in OWN_HOSTS.get(name, ()))
    return (*known, *_by_address(name, env))


def _by_address(name: str, env: Mapping[str, Any]) -> Iterator[str]:
    stem = name.removesuffix("_API_KEY")
    for variable in (f"{stem}_BASE_URL", f"{stem}_ENDPOINT") if stem != name else ():
        # AZURE_OPENAI_ENDPOINT is the only one of its kind: its host is each user's own
        if variable.endswith("_ENDPOINT") and variable != "AZURE_OPENAI_ENDPOINT":
            continue
        address = env.get(variable)
        if isinstance(address, str) and "://" in address and _is_as_near(variable, name, env):
            try:
                yield destination(address)
            except UsageError:
                continue


def _is_as_near(variable: str, name: str, env: Mapping[str, Any]) -> bool:
    """Whether an address comes from where the key does, or from the process itself.

    A `.env` that came along with a document must not lead a key away that the user keeps elsewhere.
    """
    rank: Callable[[str], int] | None = getattr(env, "rank", None)
    return rank is None or rank(variable) <= 1 or rank(variable) == rank(name)


# -- sentences -----------------------------------------------------------------------------------------------------------


def refusal(use: Use) -> str:
    """The sentence for a secret that may not go there, with the line that allows it."""
    if use.place == "header":
        return say(
            "`{name}` is a secret and may not be sent to {origin}, which is not known as its host. If it belongs there, write "
            'in Python: composemagic.allow("{name}", "{origin}"), or in a terminal: --allow {name}={origin}',
            name=use.name,
            origin=use.origin,
        )
    place = {"body": say("the body"), "query": say("the query"), "path": say("the path")}[use.place]
    return say(
        "`{name}` is a secret and may not be sent in {where} of a request to {origin}. If it belongs there, write in Python: "
        'composemagic.allow("{name}", "{origin}", place="{place}"), or in a terminal: --allow {name}={origin}={place}',
        name=use.name,
        origin=use.origin,
        where=place,
        place=use.place,
    )


def question(use: Use) -> str:
    """What is asked before a secret goes to a host that is not known as its own."""
    if use.place == "header":
        return say(
            "May the secret `{name}` be sent to {origin}? Answer yes or no; a yes is remembered on this computer.",
            name=use.name,
            origin=use.origin,
        )
    return say(
        "May the secret `{name}` be sent to {origin} in its {place}? Answer yes or no; a yes is remembered on this computer.",
        name=use.name,
        origin=use.origin,
        place=use.place,
    )
