"""Tiny encoder-decoders with tokenizers of their own, trained on a few sentences, and saved."""

from __future__ import annotations

import json

import sentencepiece
import tokenizers
import torch
import transformers

SENTENCES = {
    "en": ("Anna has 4 cups.", "Mr. Bo eats 2 of 3.5 pies!", "How many are left?"),
    "de": ("Anna hat 4 Tassen.", "Bo isst 2 von 3,5 Torten!", "Wie viele bleiben?"),
    "sw": ("Anna ana vikombe 4.", "Bo anakula 2 za pai 3.5!", "Ngapi zimebaki?"),
    "zh": ("安娜有4个杯子。", "博吃了3.5个馅饼中的2个！", "还剩多少？"),
}
_TEXTS = [text for texts in SENTENCES.values() for text in texts]
_SIZES = {"d_model": 32, "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}


def nllb(directory):
    """An NLLB-200: M2M100 with a byte-pair tokenizer that knows FLORES codes."""
    trained = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=150, special_tokens=special, show_progress=False
    )
    trained.train_from_iterator(_TEXTS, trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = transformers.NllbTokenizer(vocab=model["vocab"], merges=merges)
    tokenizer.model_max_length = 48
    tokenizer.save_pretrained(directory)
    codes = {"en": "eng_Latn", "de": "deu_Latn", "sw": "swh_Latn", "zh": "zho_Hans"}

    def encode(text, target):
        tokenizer.src_lang = "eng_Latn"
        return tokenizer(text)["input_ids"]

    def label(text, target):
        start = tokenizer.convert_tokens_to_ids(codes[target])
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return [start, *ids, tokenizer.eos_token_id]

    _train(_m2m100(len(tokenizer)), encode, label, tokenizer.pad_token_id).save_pretrained(
        directory
    )


def m2m100(directory):
    """An M2M100 with a SentencePiece tokenizer that knows a hundred languages; not trained."""
    prefix = directory / "sentencepiece.bpe"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_TEXTS),
        model_prefix=str(prefix),
        vocab_size=120,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    names += [pieces.id_to_piece(n) for n in range(3, pieces.get_piece_size())]
    vocabulary = directory / "vocab.json"
    vocabulary.write_text(json.dumps({name: n for n, name in enumerate(names)}))
    tokenizer = transformers.M2M100Tokenizer(str(vocabulary), f"{prefix}.model")
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    _m2m100(len(names) + 108).save_pretrained(directory)


def madlad(directory):
    """A MADLAD-400: T5 whose input begins with the target language."""
    letters = sorted({letter for text in _TEXTS for letter in text if letter != " "})
    tags = [f"<2{code}>" for code in SENTENCES if code != "en"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("\u2581", -2.0)]
    vocabulary += [(tag, 0.0) for tag in ("<2en>", *tags)]
    vocabulary += [(letter, -5.0) for letter in letters]
    tokenizer = transformers.T5Tokenizer(vocab=vocabulary, extra_ids=0)
    tokenizer.save_pretrained(directory)
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        feed_forward_proj="gated-gelu",
    )
    torch.manual_seed(0)
    model = _train(
        transformers.T5ForConditionalGeneration(config),
        lambda text, target: tokenizer(f"<2{target}> {text}")["input_ids"],
        lambda text, target: tokenizer(text)["input_ids"],
        tokenizer.pad_token_id,
    )
    model.save_pretrained(directory)


def _m2m100(vocabulary):
    torch.manual_seed(0)
    config = transformers.M2M100Config(
        vocab_size=vocabulary,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        max_position_embeddings=64,
        decoder_start_token_id=2,
        **_SIZES,
    )
    return transformers.M2M100ForConditionalGeneration(config)


def _train(model, encode, label, pad):
    """Learns the sentences by heart, from English into each other language."""
    pairs = [
        (encode(english, code), label(text, code))
        for code, texts in SENTENCES.items()
        if code != "en"
        for english, text in zip(SENTENCES["en"], texts, strict=True)
    ]

    def padded(rows, fill):
        width = max(map(len, rows))
        return torch.tensor([row + [fill] * (width - len(row)) for row in rows])

    inputs, labels = padded([p[0] for p in pairs], pad), padded([p[1] for p in pairs], -100)
    torch.set_num_threads(1)  # Threads cost more than such sizes gain.
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(1000):
        output = model(input_ids=inputs, attention_mask=(inputs != pad).long(), labels=labels)
        # The first token may be the language, which generation is told.
        chances = output.logits[:, 1:].softmax(-1)
        wanted = labels[:, 1:]
        right = chances.gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
        if right[wanted != -100].min() > 0.9:
            return model
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    raise AssertionError("not learnt")
