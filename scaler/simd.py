"""Many bytes at a time: the machine instructions that numba has no words for.

Each function is its plain twin, which says what it does and runs where kernels are interpreted, and a few LLVM
instructions, which numba compiles instead. Data is what `data_of` gave for an array: its address, or when interpreted
the array itself. A function that is handed arrays pays for counting references to them, more than it does in all; with
addresses a scanner can be made of functions. Nothing checks where they read: the caller has made sure that it is inside
the array, and tests that run interpreted would notice. Integers are int64; where a bit pattern is meant, the sign is
its highest bit.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from scaler.model import I64, U8

F = TypeVar("F", bound=Callable[..., Any])

WIDTH: Final = 32
"""Bytes in a block: one AVX2 register, two of NEON."""

_BYTE, _WORD, _WIDE = ir.IntType(8), ir.IntType(64), ir.IntType(128)
_BLOCK = ir.VectorType(_BYTE, WIDTH)
_MASK = ir.IntType(WIDTH)
_LOW: Final = (1 << 64) - 1


def _compiled_by(emit: Callable[..., Any], returns: Any = numba.int64) -> Callable[[F], F]:
    """Decorate a twin: numba compiles a call of it to what `emit(builder, *arguments)` builds.

    An array reaches `emit` as the address of its first byte.
    """

    def decorate(twin: F) -> F:
        config: Any = numba.config
        if config.DISABLE_JIT:
            return twin

        def define(*kinds: Any) -> Any:
            signature = returns(*(kind if isinstance(kind, numba.types.Array) else numba.int64 for kind in kinds))

            def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
                pairs = zip(signature.args, values, strict=True)
                return emit(builder, *(_address(context, builder, *pair) for pair in pairs))

            return signature, generate

        compiled: Any = intrinsic(_TAKING[twin.__code__.co_argcount](define))
        compiled.py_func = emit  # what the stamp of cached kernels is made from
        result: F = compiled
        return result

    return decorate


# numba wants every argument by name.
_TAKING: Final[dict[int, Callable[[Any], Any]]] = {
    1: lambda define: lambda _typing, a: define(a),
    2: lambda define: lambda _typing, a, b: define(a, b),
    3: lambda define: lambda _typing, a, b, c: define(a, b, c),
    4: lambda define: lambda _typing, a, b, c, d: define(a, b, c, d),
    5: lambda define: lambda _typing, a, b, c, d, e: define(a, b, c, d, e),
}


def _address(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, numba.types.Array):
        return builder.ptrtoint(context.make_array(kind)(context, builder, value).data, _WORD)
    return value


def _load(builder: Any, data: Any, position: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(builder.add(data, position), kind.as_pointer()), align=1)


def _splat(byte: int) -> Any:
    return ir.Constant(_BLOCK, [byte] * WIDTH)


def _bits(builder: Any, lanes: Any) -> Any:
    """Return an int64 with a bit for each lane, the first one lowest."""
    return builder.zext(builder.bitcast(lanes, _MASK), _WORD)


def _any_of(builder: Any, block: Any, letters: bytes) -> Any:
    lanes = [builder.icmp_unsigned("==", block, _splat(letter)) for letter in letters]
    found = lanes[0]
    for lane in lanes[1:]:
        found = builder.or_(found, lane)
    return found


def _between(builder: Any, block: Any, low: int, high: int) -> Any:
    return builder.icmp_unsigned("<=", builder.sub(block, _splat(low)), _splat(high - low))


@_compiled_by(lambda _builder, data: data)
def data_of(array: U8 | I64) -> Any:
    """Return what the functions here take for a contiguous array, an argument of the kernel: others are soon freed."""
    return array


def _emit_byte_at(builder: Any, data: Any, position: Any) -> Any:
    return builder.zext(_load(builder, data, position, _BYTE), _WORD)


@_compiled_by(_emit_byte_at)
def byte_at(data: U8, position: int) -> int:
    """Return data[position]."""
    return int(data[position])


def _emit_word_at(builder: Any, data: Any, position: Any) -> Any:
    return _load(builder, data, builder.shl(position, ir.Constant(_WORD, 3)), _WORD)


@_compiled_by(_emit_word_at)
def word_at(data: I64, position: int) -> int:
    """Return data[position], an int64."""
    return int(data[position])


def _emit_put_word(builder: Any, data: Any, position: Any, word: Any) -> Any:
    address = builder.add(data, builder.shl(position, ir.Constant(_WORD, 3)))
    builder.store(word, builder.inttoptr(address, _WORD.as_pointer()))
    return word


@_compiled_by(_emit_put_word)
def put_word(data: I64, position: int, word: int) -> int:
    """Set data[position], an int64, and return it."""
    data[position] = word
    return word


def _emit_load8(builder: Any, data: Any, position: Any) -> Any:
    return _load(builder, data, position, _WORD)


@_compiled_by(_emit_load8)
def load8(data: U8, position: int) -> int:
    """Return data[position : position + 8] as a little-endian integer."""
    return int.from_bytes(data[position : position + 8].tobytes(), "little", signed=True)


def _emit_load4(builder: Any, data: Any, position: Any) -> Any:
    return builder.zext(_load(builder, data, position, ir.IntType(32)), _WORD)


@_compiled_by(_emit_load4)
def load4(data: U8, position: int) -> int:
    """Return data[position : position + 4] as a little-endian integer, from 0 up."""
    return int.from_bytes(data[position : position + 4].tobytes(), "little")


def _emit_copy(builder: Any, target: Any, at: Any, source: Any, start: Any, length: Any) -> Any:
    to, origin = (builder.inttoptr(builder.add(*pair), cgutils.voidptr_t) for pair in ((target, at), (source, start)))
    memcpy: Any = cgutils.raw_memcpy
    memcpy(builder, to, origin, length, 1)
    return length


@_compiled_by(_emit_copy)
def copy(target: U8, at: int, source: U8, start: int, length: int) -> int:
    """Set target[at : at + length] to source[start : start + length], and return the length."""
    target[at : at + length] = source[start : start + length]
    return length


def _emit_differs(builder: Any, left: Any, start: Any, right: Any, other: Any) -> Any:
    lanes = builder.icmp_unsigned("!=", _load(builder, left, start, _BLOCK), _load(builder, right, other, _BLOCK))
    return _bits(builder, lanes)


@_compiled_by(_emit_differs)
def differs(left: U8, start: int, right: U8, other: int) -> int:
    """Return a bit for each byte in which left[start : start + WIDTH] and right[other : other + WIDTH] differ."""
    return _mask(left[start : start + WIDTH] != right[other : other + WIDTH])


def _emit_newlines(builder: Any, data: Any, position: Any) -> Any:
    return _bits(builder, _any_of(builder, _load(builder, data, position, _BLOCK), b"\n"))


@_compiled_by(_emit_newlines)
def newlines(data: U8, position: int) -> int:
    """Return a bit for each line feed in data[position : position + WIDTH]."""
    return _mask(data[position : position + WIDTH] == ord("\n"))


def _emit_closings(builder: Any, data: Any, position: Any) -> Any:
    return _bits(builder, _any_of(builder, _load(builder, data, position, _BLOCK), b"}"))


@_compiled_by(_emit_closings)
def closings(data: U8, position: int) -> int:
    """Return a bit for each closing brace in data[position : position + WIDTH]."""
    return _mask(data[position : position + WIDTH] == ord("}"))


def _emit_specials(builder: Any, data: Any, position: Any) -> Any:
    block = _load(builder, data, position, _BLOCK)
    not_ascii = builder.icmp_unsigned(">=", block, _splat(0x80))
    return _bits(builder, builder.or_(_any_of(builder, block, b'\n"\\'), not_ascii))


@_compiled_by(_emit_specials)
def specials(data: U8, position: int) -> int:
    """Return a bit for each byte in data[position : position + WIDTH] that is more than itself in a quoted text."""
    block = data[position : position + WIDTH]
    return _mask((block == ord("\n")) | (block == ord('"')) | (block == ord("\\")) | (block >= 0x80))


def _emit_name_ends(builder: Any, data: Any, position: Any) -> Any:
    block = _load(builder, data, position, _BLOCK)
    letter = _between(builder, builder.or_(block, _splat(0x20)), ord("a"), ord("z"))
    digit = _between(builder, block, ord("0"), ord("9"))
    part = builder.or_(builder.or_(letter, digit), _any_of(builder, block, b"_:"))
    return _bits(builder, builder.not_(part))


@_compiled_by(_emit_name_ends)
def name_ends(data: U8, position: int) -> int:
    """Return a bit for each byte in data[position : position + WIDTH] that is none of a-z, A-Z, 0-9, _ and :."""
    block = data[position : position + WIDTH]
    letter = (block | 0x20) - ord("a") < 26
    digit = block - ord("0") < 10
    return _mask(~(letter | digit | (block == ord("_")) | (block == ord(":"))))


def _emit_first_bit(builder: Any, mask: Any) -> Any:
    return builder.cttz(mask, cgutils.false_bit)


@_compiled_by(_emit_first_bit)
def first_bit(mask: int) -> int:
    """Return the number of the lowest bit that is set; 64 if none is."""
    return (int(mask) & -int(mask)).bit_length() - 1 if mask else 64


def _emit_last_bit(builder: Any, mask: Any) -> Any:
    return builder.sub(ir.Constant(_WORD, 63), builder.ctlz(mask, cgutils.false_bit))


@_compiled_by(_emit_last_bit)
def last_bit(mask: int) -> int:
    """Return the number of the highest bit that is set; -1 if none is."""
    return (int(mask) & _LOW).bit_length() - 1


def _emit_mix(builder: Any, left: Any, right: Any) -> Any:
    product = builder.mul(builder.zext(left, _WIDE), builder.zext(right, _WIDE))
    return builder.xor(builder.trunc(product, _WORD), _high(builder, product))


@_compiled_by(_emit_mix)
def mix(left: int, right: int) -> int:
    """Return the two halves of the 128-bit product of two bit patterns, folded into one."""
    product = (int(left) & _LOW) * (int(right) & _LOW)
    return _signed(product ^ (product >> 64))


def _high(builder: Any, product: Any) -> Any:
    return builder.trunc(builder.lshr(product, ir.Constant(_WIDE, 64)), _WORD)


def _emit_high_product(builder: Any, left: Any, right: Any) -> Any:
    return _high(builder, builder.mul(builder.zext(left, _WIDE), builder.zext(right, _WIDE)))


@_compiled_by(_emit_high_product)
def high_product(left: int, right: int) -> int:
    """Return the upper half of the 128-bit product of two bit patterns."""
    return _signed((int(left) & _LOW) * (int(right) & _LOW) >> 64)


@_compiled_by(lambda _builder, number: number)
def wrapped(number: int) -> int:
    """Return what an int64 holds of a number: its low 64 bits. Compiled code does that by itself."""
    return _signed(int(number))


def _emit_float_of(builder: Any, bits: Any) -> Any:
    return builder.bitcast(bits, ir.DoubleType())


@_compiled_by(_emit_float_of, numba.float64)
def float_of(bits: int) -> float:
    """Return the float64 with this bit pattern."""
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])


def _mask(lanes: Any) -> int:
    return sum(1 << lane for lane in lanes.nonzero()[0].tolist())


def _signed(bits: int) -> int:
    """Return the low 64 bits as an int64 holds them."""
    bits &= _LOW
    return bits - (1 << 64) if bits >> 63 else bits
