"""Bytes to and from main memory, read from programs whose traffic is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from xcot_jax import hlo, hlo_traffic

KIB = 1_024

FUSION = """
%slice (param_0.1: f32[8,16,16], param_1.1: s32[]) -> f32[16,16] {
  %param_0.1 = f32[8,16,16]{2,1,0} parameter(0)
  %param_1.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %part = f32[1,16,16]{2,1,0} dynamic-slice(%param_0.1, %param_1.1, %zero, %zero)
  ROOT %flat = f32[16,16]{1,0} bitcast(%part)
}

%write (param_0.2: f32[8,16,16], param_1.2: f32[16,16], param_2.2: s32[]) -> f32[8,16,16] {
  %param_0.2 = f32[8,16,16]{2,1,0} parameter(0)
  %param_1.2 = f32[16,16]{1,0} parameter(1)
  %param_2.2 = s32[] parameter(2)
  %zero.2 = s32[] constant(0)
  %row = f32[1,16,16]{2,1,0} bitcast(%param_1.2)
  ROOT %new = f32[8,16,16]{2,1,0} dynamic-update-slice(%param_0.2, %row, %param_2.2, %zero.2)
}
"""

PROGRAM = """HloModule traffic
{fusions}
%body (state: (s32[], f32[8,16,16])) -> (s32[], f32[8,16,16]) {{
  %state = (s32[], f32[8,16,16]{{2,1,0}}) parameter(0)
  %index = s32[] get-tuple-element(%state), index=0
  %stack = f32[8,16,16]{{2,1,0}} get-tuple-element(%state), index=1
{body}
  ROOT %next = (s32[], f32[8,16,16]{{2,1,0}}) tuple(%index, %stack)
}}

%condition (state.1: (s32[], f32[8,16,16])) -> pred[] {{
  %state.1 = (s32[], f32[8,16,16]{{2,1,0}}) parameter(0)
  %index.1 = s32[] get-tuple-element(%state.1), index=0
  %limit = s32[] constant(8)
  ROOT %more = pred[] compare(%index.1, %limit), direction=LT
}}

ENTRY %main (a: (s32[], f32[8,16,16])) -> (s32[], f32[8,16,16]) {{
  %a = (s32[], f32[8,16,16]{{2,1,0}}) parameter(0)
  ROOT %loop = (s32[], f32[8,16,16]{{2,1,0}}) while(%a), condition=%condition, body=%body
}}
"""


def traffic(*body):
    lines = "\n".join(f"  {line}" for line in body)
    program = hlo.parse(PROGRAM.format(fusions=FUSION, body=lines))
    return hlo_traffic.hbm_bytes(program) - 8 * 9  # The condition's two integers are not counted.


SLICE = "%one = f32[16,16]{1,0} fusion(%stack, %index), kind=kLoop, calls=%slice"


@pytest.mark.parametrize(
    ("body", "kib"),
    [
        # A slice of the stack is read and written in each of eight trips; not the stack.
        ([SLICE], 8 * 2),
        # Only read, where it goes to the chip's own memory.
        ([SLICE.replace("{1,0}", "{1,0:S(1)}")], 8),
        # An update reads what is new and writes as much, and leaves the rest of the stack.
        (
            [
                SLICE,
                "%new = f32[8,16,16]{2,1,0} fusion(%stack, %one, %index), calls=%write",
            ],
            8 * (2 + 2),
        ),
        # A whole copy, in two halves that count once.
        (
            [
                "%begun = (f32[8,16,16]{2,1,0:S(1)}, f32[8,16,16]{2,1,0}, u32[]{:S(2)}) "
                "copy-start(%stack)",
                "%copied = f32[8,16,16]{2,1,0:S(1)} copy-done(%begun)",
            ],
            8 * 8,
        ),
        # Without a fusion both operands and the result count whole.
        (["%sum = f32[8,16,16]{2,1,0} add(%stack, %stack)"], 8 * 8 * 3),
    ],
    ids=["slice", "slice to other memory", "update", "copy", "sum"],
)
def test_the_bytes_of_known_programs(body, kib):
    assert traffic(*body) == pytest.approx(kib * KIB, rel=0.02)


def test_a_scan_over_layers_reads_each_layer_once():
    """By a real compiler: not every layer in every trip, as operands' sizes would have it."""
    layers, width = 16, 256

    def run(x, weights):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

    shapes = jnp.zeros((8, width)), jnp.zeros((layers, width, width))
    text = jax.jit(run).lower(*shapes).compile().as_text()
    once = 4 * layers * width * width
    assert once <= hlo_traffic.hbm_bytes(hlo.parse(text)) < 4 * once


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("f32[3,5]{1,0:T(8,128)}", 4 * 8 * 128),
        ("f32[3,5]{0,1:T(8,128)}", 4 * 8 * 128),
        ("f32[9,130]{1,0:T(8,128)}", 4 * 16 * 256),
        ("bf16[2,9,130]{2,1,0:T(8,128)(2,1)S(1)}", 2 * 2 * 16 * 256),
        ("bf16[9,2,130]{2,0,1:T(8,128)(2,1)}", 2 * 2 * 16 * 256),
        ("s32[100]{0:T(128)}", 4 * 128),
        ("s32[]{:T(128)}", 4),
        ("f32[3,5]", 4 * 15),
    ],
)
def test_tiles_pad_the_minor_axes(text, size):
    (shape,) = hlo._shapes(text)
    assert shape.stored_bytes == size
    assert shape.in_hbm == ("S(1)" not in text)


@pytest.mark.parametrize(
    ("kind", "group", "sent"),
    [
        ("all-gather", 4, 750),
        ("reduce-scatter", 4, 750),
        ("all-reduce", 4, 1500),
        ("all-to-all", 8, 875),
        ("all-gather", 0, 9_375 // 10),
        ("collective-permute", 2, 1_000),
    ],
)
def test_a_device_sends_what_it_must(kind, group, sent):
    collective = hlo.Collective(kind, (), 500, group, (2,), "")
    assert collective.sent_bytes(16) == sent
