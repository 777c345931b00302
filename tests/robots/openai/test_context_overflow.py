"""Errors of servers whose context is too short, and errors that are similar to them."""

from twisted.trial.unittest import SynchronousTestCase

from securechat.robots.openai.context_overflow import is_overflow

OVERFLOWS = (
    # OpenAI and what is like it
    "This model's maximum context length is 4097 tokens. However, your messages resulted in 5000 tokens.",
    "This model's maximum context length is 262144 tokens. However, you requested 0 output tokens and your prompt "
    "contains at least 262145 input tokens, for a total of at least 262145 tokens. Please reduce the length of the "
    "input prompt or the number of requested output tokens.",
    "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
    "Please reduce the length of the messages or completion.",
    "This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens",
    "Invalid 'messages[0].content': string too long. Expected a string with maximum length 1048576, but got a string "
    "with length 1300000 instead.",
    "prompt token count of 75000 exceeds the limit of 64000",
    "Request body too large for gpt-4o model. Max size: 8000 tokens.",
    "Request too large for gpt-4 in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000. The "
    "input or output tokens must be reduced in order to run successfully.",
    # vLLM and SGLang
    "The decoder prompt (length 21535) is longer than the maximum model length of 16384. Make sure that "
    "`max_model_len` is no smaller than the number of text tokens.",
    "The prompt (total length 25938) is too long to fit into the model (context length 4096). Make sure that "
    "`max_model_len` is no smaller than the number of text tokens plus multimodal tokens.",
    "You passed 4097 input tokens and requested 0 output tokens. However, the model's context length is only 4096 "
    "tokens, resulting in a maximum input length of 4096 tokens. Please reduce the length of the input prompt.",
    "'max_tokens' or 'max_completion_tokens' is too large: 40000. This model's maximum context length is 32768 tokens "
    "and your request has 13 input tokens (40000 > 32768 - 13).",
    "The prompt (total length 43512) is too long to fit into the model (context length 32768). Make sure that "
    "`max_model_len` is no smaller than the number of text tokens plus multimodal tokens. For image inputs, the number "
    "of image tokens depends on the number of images and their aspect ratios as well.",
    "max_tokens must be at least 1, got -1234.",
    "default_max_tokens (-12) should be greater than 0, default_max_tokens (-12) = max_seq_len (100) - 112",
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 "
    "tokens: 4000 tokens from the input messages and 1000 tokens for the completion.",
    "Input length (1234 tokens) exceeds the maximum allowed length (1024 tokens). Use a shorter input or enable "
    "--allow-auto-truncate.",
    # llama.cpp, Ollama, LM Studio and others on one's own machine
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "request (5023 tokens) exceeds the available context size (4096 tokens), try increasing it",
    "input is too large to process. increase the physical batch size",
    "input (5000 tokens) is larger than the max context size (4096 tokens). skipping",
    "Context size has been exceeded.",
    "the input length exceeds the context length",
    "prompt too long; exceeded max context length by 123 tokens",
    "Requested tokens (5000) exceed context window of 2048",
    "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with context "
    "length of only 32768 tokens, which is not enough. Try to load the model with a larger context length, or provide "
    "a shorter input",
    "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 13055>= n_ctx: "
    "4096). Try to load the model with a larger context length, or provide a shorter input.",
    "Reached context length of 4096 tokens with this model, but this model does not currently support mid-generation "
    "context overflow. Try reloading with a larger context length or shortening the prompt/chat.",
    "Prompt length 5000 is greater than max_seq_len 4096",
    "Context length 5000 is greater than max_seq_len 4096",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 20 "
    "`max_new_tokens`",
    "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000",
    "Prompt length (5000) exceeds maximum input length (4096). Set log level to info and check TRTGptModel logs",
    "Request prompt has 5000 tokens in total, larger than the model input length limit 4096.",
    "Number of prompt tokens: 5000 exceeds model max length: 4096",
    "The request input length 5000 exceeds session_len 4096",
    # Hosted services
    "prompt is too long: 209353 tokens > 199999 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or "
    "`max_tokens` and try again",
    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    "Input is too long for requested model.",
    "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
    "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
    "too many tokens: total number of tokens in this request cannot exceed 4096",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "The prompt is too long: 10000, model maximum context length: 8191",
    "Current length is 8193 while limit is 8192. Please reduce the length of the messages or completion",
    "The estimated number of input and maximum output tokens (25000) exceeded this model context window limit (24000).",
    "the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model",
    "Invalid request: Your request exceeded model token limit: 8192",
    "Range of input length should be [1, 30720]",
    "invalid params, context window exceeds limit (2013)",
    "litellm.ContextWindowExceededError: litellm.BadRequestError: OpenAIException",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "Prompt 超长",
    "输入长度超过模型上下文限制",
    # Codes
    "context_length_exceeded",
    "exceed_context_size_error",
    "string_above_max_length",
    "request_too_large",
)

OTHERS = (
    "max_tokens is too large: 100000. This model supports at most 4096 completion tokens, whereas you provided 100000.",
    "Range of max_tokens should be [1, 8192]",
    "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
    "Invalid 'max_output_tokens': integer above maximum value. Expected a value <= 16384, but got 100000 instead.",
    "max_tokens: Input should be less than or equal to 8192",
    "thinking.budget_tokens: Input should be greater than or equal to 1024",
    "max_tokens must be at least 1, got 0.",
    "temperature: Input should be less than or equal to 2",
    "top_k: Input should be less than or equal to 1000",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
    "Too many images in request: 600 exceeds the maximum of 500",
    "This request would exceed your organization's rate limit of 40,000 input tokens per minute",
    "Rate limit reached for gpt-4 on tokens per min (TPM): Limit 30000, Used 20000, Requested 15000. Please try again "
    "in 20s.",
    "Quota exceeded for metric: generate_content_free_tier_input_token_count, limit: 250000",
    "Request denied: the daily token limit of 100000 was reached",
    "model requires more system memory (20.1 GiB) than is available (16.0 GiB)",
    "Failed to load model: a context length of 131072 tokens exceeds the memory",
    "Token id 151936 in the prompt exceeds the vocabulary of 151936 tokens",
    "model 'llama-3-8b-context-length-4096' not found",
    "The model `gpt-4-32k` does not exist or you do not have access to it.",
    '"bge-m3:latest" does not support chat',
    "Invalid model name passed in model=gpt-4096. Call `/v1/models` to view available models for your key.",
    "The response was filtered due to the prompt triggering content management policy. Please modify your prompt and "
    "retry. See https://go.example/fwlink/?linkid=2198766",
    "messages: at least one message is required",
    "Conversation roles must alternate user/assistant/user/assistant/...",
    "Incorrect API key provided: token length must be at most 256",
    "stop: at most 4 sequences are allowed",
    "tools.0.function.name: string too long. Expected a string with maximum length 64",
    "Internal server error",
    "",
)


class ContextOverflowTests(SynchronousTestCase):
    """Errors of servers whose context is too short, and errors that are similar to them."""

    def test_overflows(self) -> None:
        """Conversations that are too long are recognized in the words of each server."""
        self.assertEqual([text for text in OVERFLOWS if not is_overflow(text)], [])

    def test_others(self) -> None:
        """Errors about parameters, rates, quotas, memory and models are not taken for them."""
        self.assertEqual([text for text in OTHERS if is_overflow(text)], [])
