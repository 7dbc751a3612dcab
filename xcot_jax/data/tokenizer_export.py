"""A run's tokenizer as the files that transformers and vLLM load, with the very same ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xcot_jax.data.chat import CHAT_TEMPLATE, mark, pinned
from xcot_jax.data.sentencepiece_conversion import to_fast
from xcot_jax.data.tokenizer import (
    MODEL_FILE,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    load_tokenizer,
)
from xcot_jax.errors import InputError
from xcot_jax.files import write_whole
from xcot_jax.prompts import TEMPLATES, Template, direct_prompt

_CONFIG = "tokenizer_config.json"
_NAMES = "special_tokens_map.json"  # Of older versions; newer ones have all in _CONFIG.
_TOKENIZER = "tokenizer.json"
_SAMPLES = (
    "Anna has 12 apples and buys 7 more. How many apples does she have?\n",
    "Jürgen zählt 250 Äpfel; die Hälfte ist süß.\n",
    "Zoé achète 3 gâteaux à 4,50 € : combien paie-t-elle ?\n",
    "¿Cuántos lápices tiene Íñigo si compró 16 y perdió 9?\n",
    "У Ольги 1 234 рубля. Сколько ёлок она купит?\n",
    "小明有15个苹果，他又买了8个。一共有多少？\n",
    "田中さんはリンゴを１２個と鉛筆を３本買いました。\n",
    "มานีมีดินสอ ๑๖ แท่ง เธอซื้ออีก 20 แท่ง\n",
    "రవికి 14 పుస్తకాలు ఉన్నాయి. అతను ఎన్ని చదివాడు?\n",
    "মিনার কাছে ১৬টি কলম আছে। সে আরও ৫টি কিনল।\n",
    "Juma ana matofaa 45; je, ng'ombe wake ni wangapi?\n",
    "So 12 + 7 = 19, and 19 * 100 = 1,900.\nThe answer is 1900.",
    "",
    "\n",
    "a",
    " two  spaces,   three; \t tabs\t\n\n\n \r\n at the end  ",
    "x" * 40 + " \u00a0\u200b\u3000.",
    "\U0001f34e \U0001d518 \u0001 \ufb01 A\u030a \u09af\u09bc \u1e9b\u0323 \ufffd",
    "<s> </s> <pad> <unk> <0x0A> <|im_end|> <|eot_id|> <eos> [INST]",
    "NASA's iPhone: f(x) = {a: [1, 2]}; \\frac{1}{2} 3.14e-5 #### 42",
)
_MARK = "\0"  # In no template.


def save_for_transformers(tokenizer: Tokenizer, directory: Path, style: Template) -> None:
    """Writes a tokenizer so that `transformers.AutoTokenizer.from_pretrained` loads it.

    What is written is loaded again and held to the tokenizer: the same ids and text, plain calls
    that begin as training's sequences did, and an `eos_token` that ends answers as training's did.
    A chat model keeps its template; for others `apply_chat_template` gives the prompt that they
    were trained with. Hugging Face files are copied; a SentencePiece model is converted, and its
    `tokenizer.model` written beside.

    Args:
      tokenizer: of the run.
      directory: where to write. A `config.json` in it is not changed, but counts: transformers
        chooses the tokenizer's class by it too.
      style: of the prompts of the run.

    Raises:
      InputError: when transformers would not give the same ids, with the first such text. The
        directory then holds unusable files.
    """
    if isinstance(tokenizer, HuggingFaceTokenizer):
        _copy(tokenizer, directory)
    elif isinstance(tokenizer, SentencePieceTokenizer):
        _convert(tokenizer, directory)
    else:
        raise TypeError(f"no export for {type(tokenizer).__name__}")
    written = _read_back(tokenizer, directory)
    if tokenizer.chat and _in_chat(written, _SAMPLES[0]) != tokenizer.prompt_ids(_SAMPLES[0]):
        # Its template wants to be told what it was told in training, such as not to think.
        write_whole(directory / CHAT_TEMPLATE, pinned(written.processor.get_chat_template()))
        written = _read_back(tokenizer, directory)
    _check(tokenizer, written)
    if not tokenizer.chat:
        write_whole(directory / CHAT_TEMPLATE, _fitting_template(tokenizer, written, style))


def _read_back(tokenizer: Tokenizer, directory: Path) -> HuggingFaceTokenizer:
    try:
        written = load_tokenizer(directory, "always" if tokenizer.chat else "never")
    except InputError as error:
        raise _different(
            tokenizer, f"transformers reads what is written otherwise: {error}"
        ) from error
    assert isinstance(written, HuggingFaceTokenizer)
    return written


def _in_chat(written: HuggingFaceTokenizer, prompt: str) -> list[int]:
    """The ids that transformers' users get for a prompt, white space around it left out."""
    message = [{"role": "user", "content": prompt.strip()}]
    return written.processor.apply_chat_template(
        message, add_generation_prompt=True, return_dict=False
    )


def chat_template(style: Template, begin: str) -> str:
    """A chat template that renders the prompt for the last question, and an answer to it if given.

    Its first line tells `load_tokenizer` that it makes no chat model.

    Args:
      style: of the prompt.
      begin: a Jinja expression for what comes first.
    """
    words = [json.dumps(p, ensure_ascii=False) for p in direct_prompt(style, _MARK).split(_MARK)]
    prompt = " + questions[-1]['content'] + ".join(words)
    name = next(name for name, row in TEMPLATES.items() if row.direct == style.direct)
    return (
        f"{mark(name)}"
        "{%- set questions = messages | selectattr('role', 'equalto', 'user') | list -%}\n"
        f"{{{{- {begin} + {prompt} -}}}}\n"
        "{%- if messages[-1]['role'] == 'assistant' -%}\n"
        "{{- messages[-1]['content'] + eos_token -}}\n"
        "{%- endif -%}\n"
    )


def _copy(tokenizer: HuggingFaceTokenizer, directory: Path) -> None:
    """The tokenizer's own files, but for another end of sequence, and without a chat template that
    the run did not use.
    """
    names = {_CONFIG, _NAMES, _TOKENIZER, MODEL_FILE, "added_tokens.json"}
    names |= set(tokenizer.processor.vocab_files_names.values())
    if tokenizer.chat:
        names.add(CHAT_TEMPLATE)
    for name in sorted(names):
        if (tokenizer.path / name).is_file():
            write_whole(directory / name, (tokenizer.path / name).read_bytes())
    if not (directory / _TOKENIZER).exists():
        write_whole(directory / _TOKENIZER, tokenizer.processor.backend_tokenizer.to_str())
    end = tokenizer.special[tokenizer.eos_id]
    for path in (directory / _CONFIG, directory / _NAMES):
        if not path.exists():
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        if tokenizer.processor.eos_token != end:  # A chat's.
            content["eos_token"] = end
        if tokenizer.processor.pad_token is None and tokenizer.pad_id in tokenizer.special:
            content["pad_token"] = tokenizer.special[tokenizer.pad_id]
        if not tokenizer.chat:
            content.pop("chat_template", None)
        _write(path, content)


def _convert(tokenizer: SentencePieceTokenizer, directory: Path) -> None:
    model = tokenizer.processor.serialized_model_proto()
    write_whole(directory / MODEL_FILE, model)
    write_whole(directory / _TOKENIZER, to_fast(model, tokenizer.bos_id).to_str(pretty=True))
    roles = {
        "bos_token": tokenizer.bos_id,
        "eos_token": tokenizer.eos_id,
        "pad_token": tokenizer.pad_id,
        "unk_token": tokenizer.processor.unk_id(),
    }
    names = {
        role: tokenizer.special[number]
        for role, number in roles.items()
        if number is not None and number in tokenizer.special
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    _write(directory / _CONFIG, config | names)


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _check(tokenizer: Tokenizer, written: HuggingFaceTokenizer) -> None:
    """Raises an InputError where the written tokenizer differs."""
    for text in _SAMPLES:
        ids, prompt = tokenizer.encode(text), tokenizer.prompt_ids(text)
        _same(tokenizer, text, ids, written.encode(text))
        _same(tokenizer, text, tokenizer.decode(ids), written.decode(ids))
        _same(tokenizer, text, prompt, written.prompt_ids(text))
        if _has_special(tokenizer, text):
            continue
        if tokenizer.chat:
            _same(tokenizer, text, prompt, _in_chat(written, text))
        else:
            _same(tokenizer, text, prompt, written.processor(text, verbose=False)["input_ids"])
    end = tokenizer.special[tokenizer.eos_id]
    _same(tokenizer, end, tokenizer.eos_id, written.processor.eos_token_id)


def _fitting_template(tokenizer: Tokenizer, written: HuggingFaceTokenizer, style: Template) -> str:
    """The chat template whose rendering has the ids of our prompts.

    Some tokenizers begin a text with a space, but not one that follows on a special token.
    """
    begins = ["''"] if tokenizer.bos_id is None else ["bos_token", "bos_token + ' '"]
    prompts = {q: direct_prompt(style, q) for q in _SAMPLES if not _has_special(tokenizer, q)}
    for begin in begins:
        template = chat_template(style, begin)
        rendered = {
            prompt: written.processor.apply_chat_template(
                [{"role": "user", "content": question}], chat_template=template, return_dict=False
            )
            for question, prompt in prompts.items()
        }
        different = [p for p, ids in rendered.items() if ids != tokenizer.prompt_ids(p)]
        if not different:
            return template
    raise _different(
        tokenizer, f"{different[0]!r} has other ids in a chat: {rendered[different[0]]}"
    )


def _has_special(tokenizer: Tokenizer, text: str) -> bool:
    return any(name in text for name in tokenizer.special.values())


def _same(tokenizer: Tokenizer, text: str, here: object, there: object) -> None:
    if here != there:
        raise _different(tokenizer, f"{text!r} is {here} here and would be {there} there")


def _different(tokenizer: Tokenizer, how: str) -> InputError:
    return InputError(
        f"{tokenizer.path}: this tokenizer cannot be written for transformers: {how}; "
        "transformers chooses a tokenizer by the model's type, too, so train with the one that "
        "belongs to the model, or with a model of another type"
    )
