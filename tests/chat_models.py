"""Small tokenizers of the kinds that chat models have, with templates in the manner of theirs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

WORDS = [
    "Ali has 12 apples and buys 7 more.\nSo apples: 12 + 7 = 19.\nThe answer is 19.",
    "小明有3个苹果。他又买了14个。 মিনার ১৬টি কলম আছে। มานีมีดินสอ ๑๖ แท่ง",
    "[INST] user\nassistant\nsystem model Today Date: 26 Jul 2024 [/INST]",
]


@dataclasses.dataclass(frozen=True)
class Kind:
    """A family's special tokens and template."""

    special: tuple[str, ...]
    bos: str | None
    eos: str
    end: str
    template: str


CHATML = Kind(
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    bos=None,
    eos="<|endoftext|>",
    end="<|im_end|>",
    template="""
{%- if messages[0]['role'] != 'system' -%}
<|im_start|>system
You are helpful.<|im_end|>
{% endif -%}
{%- for message in messages -%}
    {%- if message.role == 'assistant' and loop.last -%}
        {{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}
        {{- message.content + '<|im_end|>\\n' }}
    {%- else -%}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false -%}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif -%}
{%- endif -%}
""".strip(),
)
LLAMA3 = Kind(
    special=("<|begin_of_text|>", "<|end_of_text|>", "<|header|>", "<|end_header|>", "<|eot_id|>"),
    bos="<|begin_of_text|>",
    eos="<|end_of_text|>",
    end="<|eot_id|>",
    template="""
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{{- "<|header|>system<|end_header|>\\n\\nToday Date: " + date_string + "\\n\\n<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|header|>' + message['role'] + '<|end_header|>\\n\\n' + message['content'] | trim }}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|header|>assistant<|end_header|>\\n\\n' }}
{%- endif %}
""".strip(),
)
GEMMA = Kind(
    special=("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
    bos="<bos>",
    eos="<eos>",
    end="<end_of_turn>",
    template="""
{{ bos_token }}
{%- for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
    {{ raise_exception("Conversation roles must alternate") }}
{%- endif -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<start_of_turn>model\\n' }}
{%- endif -%}
""".strip(),
)
INST = Kind(  # Its [INST] is plain text, as in Llama 2 and the first Mistral.
    special=("<unk>", "<s>", "</s>"),
    bos="<s>",
    eos="</s>",
    end="</s>",
    template=(
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    ),
)
KINDS = {"chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA, "inst": INST}


def save(kind: Kind, directory: Path, template: str | None = None, **changes: str) -> Path:
    """Writes the tokenizer of a kind as transformers does; `INST` spells bytes, others use them."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    spelt = [f"<0x{byte:02X}>" for byte in range(256)] if kind is INST else []
    backend = Tokenizer(models.BPE(unk_token="<unk>" if spelt else None, byte_fallback=bool(spelt)))
    if spelt:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", left=1)])
    else:
        words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+")
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(words, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*kind.special, *spelt],
        initial_alphabet=[] if spelt else pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(WORDS, trainer)
    if spelt:  # The trainer takes what it is given for special tokens.
        backend = Tokenizer.from_str(_without_special(backend.to_str(), set(spelt)))
    if kind.bos:
        number = backend.token_to_id(kind.bos)
        backend.post_processor = processors.TemplateProcessing(
            single=f"{kind.bos} $A", special_tokens=[(kind.bos, number)]
        )
    names = {"bos_token": kind.bos, "eos_token": kind.eos} | changes
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    fast.chat_template = kind.template if template is None else template or None
    fast.save_pretrained(directory)
    return directory


def _without_special(content: str, names: set[str]) -> str:
    described = json.loads(content)
    described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] not in names]
    return json.dumps(described)
