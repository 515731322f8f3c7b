"""Vision-language models in vLLM's offline engine, in this process."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from ..chat import to_openai_messages
from ..encoding import resize_image, to_data_url
from ..errors import missing_extra
from ..experts._options import check_count
from ._batched import BatchedCompleter
from ._calls import split_calls
from ._protocol import Completion, CompletionRequest
from ._replies import says_context_full

__all__ = ["VLLMCompleter"]


class VLLMCompleter(BatchedCompleter):
    """Runs a model that vLLM loads. Extra: ``vllm``.

    A batch is over when its longest reply is. For many episodes in flight ``vllm serve`` with the backend ``openai`` is faster, as
    it takes prompts in at any time. A model's native tool calls are understood as ``<tool_call>`` JSON only.
    """

    def __init__(
        self, model: str, *, dtype: str = "auto", batch_size: int = 64, revision: str = "", gpus: int = 1, context: int = 0,
        images: int = 32,
    ) -> None:  # fmt: skip
        """Load a model; code that comes with it is never run.

        Args:
            model: A hub id or a folder.
            dtype: As vLLM's option.
            batch_size: Most prompts at a time.
            revision: Branch, tag or commit of a hub id.
            gpus: Over how many a model is spread.
            context: Longest prompt and reply in tokens; 0 for the model's own.
            images: Most pictures of a prompt.

        Raises:
            MissingExtraError: vLLM is not installed.
            BadValueError: An option out of range.
        """
        try:
            import vllm
        except ModuleNotFoundError as error:
            raise missing_extra("Backend 'vllm'", "vllm") from error
        check_count("batch_size", batch_size, high=4096)
        check_count("gpus", gpus, high=1024)
        check_count("context", context, low=0, high=2**24)
        check_count("images", images, high=4096)
        folder = Path(model).expanduser()
        self._package: Any = vllm
        # What a request says about sampling is all that counts, so no penalties of the checkpoint's.
        self._engine: Any = vllm.LLM(
            model=str(folder) if folder.is_dir() else model, dtype=dtype, revision=revision or None, trust_remote_code=False,
            tensor_parallel_size=gpus, max_model_len=context or None, limit_mm_per_prompt={"image": images}, generation_config="vllm",
        )  # fmt: skip
        name = folder.resolve().name if folder.is_dir() else model
        super().__init__(identity=f"{name}{revision and f'@{revision}'}/vllm-{dtype}", batch_size=batch_size)

    def _kind(self, request: CompletionRequest) -> Hashable:
        return json.dumps(request.tools, sort_keys=True)

    def _answer(self, requests: Sequence[CompletionRequest]) -> list[Completion]:
        try:
            answers = self._engine.chat(
                [_messages(r) for r in requests], [self._sampling(r) for r in requests], tools=list(requests[0].tools) or None,
                use_tqdm=False,
            )  # fmt: skip
        except ValueError as error:
            if len(requests) == 1 and says_context_full(400, str(error)):
                return [Completion(content="", finish="context_full")]
            raise
        return [_completion(r, answer) for r, answer in zip(requests, answers, strict=True)]

    def _sampling(self, request: CompletionRequest) -> Any:
        asked = request.sampling
        return self._package.SamplingParams(
            temperature=asked.temperature, top_p=asked.top_p, max_tokens=asked.max_tokens, seed=asked.seed,
            stop=list(asked.stop), include_stop_str_in_output=True,
        )  # fmt: skip

    def _release(self) -> None:
        self._engine = None


def _messages(request: CompletionRequest) -> list[dict[str, Any]]:
    def url_of(image: Any) -> str:
        return to_data_url(resize_image(image, request.vision.resized_wh(image.size_wh)))

    return to_openai_messages(request.messages, url_of=url_of)


def _completion(request: CompletionRequest, answer: Any) -> Completion:
    reply = answer.outputs[0]
    content, calls = split_calls(reply.text) if request.tools else (reply.text, ())
    return Completion(
        content=content, tool_calls=calls, finish="length" if reply.finish_reason == "length" else "stop",
        prompt_tokens=len(answer.prompt_token_ids or ()), completion_tokens=len(reply.token_ids),
    )  # fmt: skip
