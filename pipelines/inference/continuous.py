"""Continuous batching on a GPU: when an answer ends, the next prompt takes its slot.

Uses transformers' implementation with a paged cache (Yu et al. 2022, "Orca", OSDI; Kwon et al. 2023, arXiv:2309.06180).
The last digits depend on the composition of the batch, so that sampled answers differ between runs.
"""

from collections.abc import Iterator, Sequence
from math import exp

from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
from transformers.generation.continuous_batching.utils import WorkloadHints

_PATIENCE = 1.0  # seconds between two checks that the generating thread is alive


def respond_continuously(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    max_new_tokens: int,
    temperature: float | None,
    seed: int,
    blocks: int | None = None,
) -> Iterator[tuple[int, list[int], float | None]]:
    """Yield, as answers end, a prompt's position, its tokens up to one of `stops`, and their minimum probability.

    Decoding is greedy when `temperature` is None; otherwise answers are sampled from the full distribution, and the
    probability is None. The cache has `blocks` blocks, by default as many as fit in free GPU memory.

    Raises:
        RuntimeError: an answer failed, for example out of memory; earlier answers have been yielded.
    """
    sampling = {"do_sample": False} if temperature is None else {"do_sample": True, "temperature": temperature}
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=list(stops), pad_token_id=stops[0], top_k=0, top_p=1.0, **sampling
    )
    hints = WorkloadHints(max(map(len, prompts)), max_new_tokens, len(prompts))
    batching = ContinuousBatchingConfig(return_logprobs=True, seed=seed, num_blocks=blocks)
    with model.continuous_batching_context_manager(
        generation_config=settings, continuous_batching_config=batching, workload_hints=hints
    ) as manager:
        names = manager.add_requests([list(prompt) for prompt in prompts], max_new_tokens=max_new_tokens)
        waiting = {name: place for place, name in enumerate(names)}
        while waiting:
            result = manager.get_result(timeout=_PATIENCE)
            if result is None and not manager.is_running():
                raise RuntimeError(f"Generation ended with {len(waiting)} answers missing.")
            if result is None or not result.is_finished():
                continue
            if result.error is not None:
                raise RuntimeError(f"An answer failed: {result.error}")
            probability = exp(min(result.logprobs, default=0.0)) if temperature is None else None
            yield waiting.pop(result.request_id), list(result.generated_tokens), probability
