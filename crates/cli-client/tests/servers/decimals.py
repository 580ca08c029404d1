"""The numbers of the power service: reading a decimal and writing the shortest one (1.1), with the faults in both."""

import re
import struct
from decimal import Decimal, localcontext

FAULTS = {
    # Writing.
    "percent_g": "writes numbers with %g: six digits, and no point in a whole number",
    "repr_without_point": "writes whole numbers without a point and a zero, such as 4",
    "exponent_without_plus": "writes positive exponents without a sign, such as 1e16",
    "exponent_of_one_digit": "writes small exponents with one digit, such as 1e-5",
    "positional_always": "never writes an exponent, such as 10000000000000000.0",
    "javascript_layout": "writes an exponent only from 1e21 on and below 1e-6, as JavaScript does",
    "exponent_always": "writes an exponent in every number, such as 4.0e+00",
    "uppercase_exponent": "writes the exponent with a capital E, such as 1E+22",
    "rust_ties": "of two equally near shortest numbers, writes the one with the odd last digit, as Rust does",
    "seventeen_digits": "writes 17 significant digits where fewer are enough",
    "fifteen_digits": "writes at most 15 significant digits, so some numbers do not read back as the same double",
    "two_decimal_places": "writes two decimal places",
    "negative_zero_lost": "writes negative zero as 0.0",
    # Reading.
    "accepts_float_words": "reads whatever float() reads: nan, 1_0, and white space other than space and tab",
    "accepts_hex": "reads 0x10 as 16",
    "accepts_unicode_digits": "reads digits that are not ASCII, in UTF-8",
    "accepts_decimal_comma": "reads a comma as a point",
    "rejects_plus_sign": "rejects a plus sign before the digits",
    "rejects_bare_points": "rejects numbers that begin or end with the point, such as .1 and 5.",
    "rejects_uppercase_exponent": "rejects a capital E before the exponent",
    "rejects_exponents": "rejects exponents",
    "rejects_blanks": "rejects a space or tab before the number",
    "trailing_blank_rejected": "rejects a space or tab after the number",
    "float32": "reads the number with single precision",
}

NUMBER = re.compile(rb"[ \t]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*")

# The beginnings of a number that are not a number themselves.
BEGINNING = re.compile(rb"[ \t]*([+-]?(\.|([0-9]+(\.[0-9]*)?|\.[0-9]+)[eE][+-]?)?)?")

# The pattern of each fault that rejects too much.
NARROWER = {
    "rejects_plus_sign": rb"[ \t]*-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*",
    "rejects_bare_points": rb"[ \t]*[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?[ \t]*",
    "rejects_uppercase_exponent": rb"[ \t]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?[ \t]*",
    "rejects_exponents": rb"[ \t]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)[ \t]*",
    "rejects_blanks": rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t]*",
    "trailing_blank_rejected": rb"[ \t]*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?",
}


def parse(text, fault=""):
    """Returns the number that `text` is, infinity if it is too large, or None if it is no number."""
    if fault == "accepts_float_words":
        try:
            return float(text)
        except ValueError:
            return None
    if fault == "accepts_unicode_digits":
        text = ascii_digits(text)
    if fault == "accepts_decimal_comma":
        text = text.replace(b",", b".")
    if fault == "accepts_hex" and re.fullmatch(rb"[ \t]*[+-]?0[xX][0-9a-fA-F]+[ \t]*", text):
        return float(int(text, 16))
    number = re.compile(NARROWER[fault]) if fault in NARROWER else NUMBER
    if not number.fullmatch(text):
        return None
    value = float(text)
    return to_float32(value) if fault == "float32" else value


def is_beginning(text):
    """Returns whether more bytes could complete `text`, which is no number, to one."""
    return BEGINNING.fullmatch(text) is not None


def ascii_digits(text):
    """Returns `text` with the decimal digits of all scripts as ASCII digits."""
    characters = text.decode("utf-8", "replace")
    ascii_only = "".join(str(int(each)) if each.isdecimal() else each for each in characters)
    return ascii_only.encode("utf-8")


def to_float32(value):
    """Rounds to single precision; infinity if that is too large."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return float("inf")


def shortest(value, fault=""):
    """Returns the reply's number: the output of `repr`, which is what the specification requires."""
    if fault == "percent_g":
        return f"{value:g}"
    if fault == "repr_without_point":
        return repr(value).removesuffix(".0")
    if fault == "exponent_without_plus":
        return repr(value).replace("e+", "e")
    if fault == "exponent_of_one_digit":
        return re.sub("e([+-])0", r"e\1", repr(value))
    if fault == "positional_always":
        return positional(value)
    if fault == "javascript_layout" and (1e-6 <= abs(value) < 1e21):
        return positional(value)
    if fault == "exponent_always":
        mantissa, exponent = f"{Decimal(repr(value)).normalize():e}".split("e")
        mantissa = mantissa if "." in mantissa else mantissa + ".0"
        return f"{mantissa}e{int(exponent):+03}"
    if fault == "uppercase_exponent":
        return repr(value).upper()
    if fault == "rust_ties":
        return with_odd_last_digit(value)
    if fault == "seventeen_digits":
        return like_repr(f"{value:.16e}")
    if fault == "fifteen_digits":
        return repr(float(f"{value:.14e}"))
    if fault == "two_decimal_places":
        return f"{value:.2f}"
    if fault == "negative_zero_lost" and value == 0:
        return "0.0"
    return repr(value)


def positional(value):
    """Returns the shortest digits without an exponent."""
    text = f"{Decimal(repr(value)):f}"
    return text if "." in text else text + ".0"


def with_odd_last_digit(value):
    """Returns the shortest digits; of two that are equally near, those with the odd last digit."""
    shown = repr(value)
    with localcontext() as context:
        context.prec = 2000
        # As far above the double as the shown number is below it.
        other = 2 * Decimal(value) - Decimal(shown)
    if other == Decimal(shown) or len(other.normalize().as_tuple().digits) != len(
        Decimal(shown).normalize().as_tuple().digits
    ):
        return shown
    mantissa, separator, exponent = shown.partition("e")
    last = int(mantissa[-1]) + (1 if abs(other) > abs(Decimal(shown)) else -1)
    return mantissa[:-1] + str(last) + separator + exponent


def like_repr(scientific):
    """Returns digits in scientific notation in the layout of `repr`, with all of their digits but final zeros."""
    mantissa, exponent = scientific.split("e")
    exponent = int(exponent)
    mantissa = mantissa.rstrip("0").rstrip(".")
    if not -4 <= exponent < 16:
        return f"{mantissa}e{exponent:+03}"
    text = f"{Decimal(f'{mantissa}e{exponent}'):f}"
    return text if "." in text else text + ".0"
