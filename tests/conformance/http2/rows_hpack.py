"""RFC 7541: indices, the size of the dynamic table, integers, strings and Huffman codes."""

from .client import block, continuation, headers, integer, literal, string
from .table import ANSWERED, COMPRESSION_ERROR, goaway, row


def _spoilt(c, more):
    """A good request whose field block goes on with something else."""
    c.send(headers(c.stream(), block(*c.fields(what="bad")) + more))


def _unfinished_field(c, more):
    """The same, in the value of a field."""
    _spoilt(c, b"\x00" + string("x-field") + more)


# --- 2.3.3 Index address space, 6.1 Indexed header field


@row("hpack-2.3.3", "an index above the static table, with an empty dynamic one", goaway(COMPRESSION_ERROR))
def index_beyond(c):
    _spoilt(c, b"\xbe")


@row("hpack-2.3.3", "an index far above both tables", goaway(COMPRESSION_ERROR))
def index_far_beyond(c):
    _spoilt(c, integer(100_000, 7, 0x80))


@row("hpack-2.3.3", "a literal whose name has an index above both tables", goaway(COMPRESSION_ERROR))
def name_index_beyond(c):
    _spoilt(c, integer(70, 6, 0x40) + string("v"))


@row("hpack-2.3.3", "a literal without indexing whose name has an index above both tables", goaway(COMPRESSION_ERROR))
def unindexed_name_index_beyond(c):
    _spoilt(c, integer(70, 4) + string("v"))


@row("hpack-6.1", "the index 0", goaway(COMPRESSION_ERROR))
def index_0(c):
    _spoilt(c, b"\x80")


# --- 4.2 Maximum table size, 6.3 Dynamic table size update


@row("hpack-4.2", "a size update after a field", goaway(COMPRESSION_ERROR))
def size_update_after_a_field(c):
    _spoilt(c, integer(100, 5, 0x20))


@row("hpack-4.2", "a size update to 0, then to 4,096, then a request", ANSWERED)
def size_updates_at_the_beginning(c):
    stream = c.stream()
    c.send(headers(stream, integer(0, 5, 0x20) + integer(4096, 5, 0x20) + block(*c.fields())))
    return stream


@row("hpack-4.2", "a size update to 0 empties the table: an entry made before is gone", goaway(COMPRESSION_ERROR))
def size_update_to_0_empties(c):
    stream = c.stream()
    c.send(headers(stream, block(*c.fields()) + literal("x-kept", "yes", 0x40)))
    c.answer(stream)
    c.send(headers(c.stream(), integer(0, 5, 0x20) + block(*c.fields(what="bad")) + b"\xbe"))


@row("hpack-6.3", "a size update above SETTINGS_HEADER_TABLE_SIZE", goaway(COMPRESSION_ERROR))
def size_update_too_large(c):
    c.send(headers(c.stream(), integer(4097, 5, 0x20) + block(*c.fields(what="bad"))))


@row("hpack-4.4", "an entry larger than the whole table: no error, and the table is empty", goaway(COMPRESSION_ERROR))
def entry_larger_than_the_table(c):
    first, second = c.stream(), c.stream()
    kept, large = literal("x-kept", "yes", 0x40), literal("x-large", "x" * 5000, 0x40)
    c.send(headers(first, block(*c.fields()) + kept + large))
    verdict = c.answer(first)
    if verdict != ANSWERED:
        return f"{verdict} to the large entry"
    c.send(headers(second, block(*c.fields(what="bad")) + b"\xbe"))


@row("hpack-4.3", "entries are evicted, the oldest first", ANSWERED)
def oldest_are_evicted(c):
    # 32 + 7 + 960 octets: four fit into 4,096, of five the first is gone.
    entries = b"".join(literal(f"x-{number:05}", f"{number}" * 960, 0x40) for number in range(5))
    first, second = c.stream(), c.stream()
    c.send(headers(first, block(*c.fields()) + entries))
    verdict = c.answer(first)
    if verdict != ANSWERED:
        return verdict
    c.send(headers(second, block(*c.fields()) + bytes([0x80 | 65])))
    seen = c.echoed(second)
    return ANSWERED if isinstance(seen, dict) and ["x-00001", "1" * 960] in seen["fields"] else str(seen)


# --- 5.1 Integers


@row("hpack-5.1", "an integer that ends never", goaway(COMPRESSION_ERROR))
def integer_without_end(c):
    _spoilt(c, b"\xff" + b"\xff" * 30)


@row("hpack-5.1", "an integer of more than 64 bits", goaway(COMPRESSION_ERROR))
def integer_too_large(c):
    _spoilt(c, b"\xff" + b"\xff" * 10 + b"\x01")


# --- 5.2 Strings and Huffman codes

LETTER_A, LETTER_A_BITS = 0b00011, 5


@row("hpack-5.2", "a string that is longer than its field block", goaway(COMPRESSION_ERROR))
def string_too_long(c):
    _unfinished_field(c, integer(100, 7) + b"short")


@row("hpack-5.2", "a Huffman string with more than seven bits of padding", goaway(COMPRESSION_ERROR))
def huffman_padding_too_long(c):
    _unfinished_field(c, b"\x82" + bytes([LETTER_A << 3 | 0b111, 0xff]))


@row("hpack-5.2", "a Huffman string padded with zeros", goaway(COMPRESSION_ERROR))
def huffman_padding_of_zeros(c):
    _unfinished_field(c, b"\x81" + bytes([LETTER_A << 3]))


@row("hpack-5.2", "a Huffman string that contains EOS", goaway(COMPRESSION_ERROR))
def huffman_eos(c):
    _unfinished_field(c, b"\x84" + b"\xff\xff\xff\xff")


@row("hpack-5.2", "a Huffman string that ends in EOS behind a letter", goaway(COMPRESSION_ERROR))
def huffman_eos_at_the_end(c):
    bits = LETTER_A << 35 | 0x3fffffff << 5 | 0b11111
    _unfinished_field(c, b"\x85" + bits.to_bytes(5, "big"))


@row("hpack-5.2", "a field in Huffman code, its name and its value", ANSWERED)
def huffman_is_read(c):
    stream = c.stream()
    c.send(headers(stream, block(*c.fields()) + bytes.fromhex("4088 25a849e95ba97d7f 89 25a849e95bb8e8b4bf")))
    seen = c.echoed(stream)
    return ANSWERED if isinstance(seen, dict) and ["custom-key", "custom-value"] in seen["fields"] else str(seen)


# --- 6.2 Literals


@row("hpack-6.2", "the three kinds of literals, with indexed names and with their own", ANSWERED)
def kinds_of_literals(c):
    stream = c.stream()
    own = literal("x-a", "1", 0x40) + literal("x-b", "2", 0x00) + literal("x-c", "3", 0x10)
    indexed = integer(58, 6, 0x40) + string("4") + integer(58, 4, 0x00) + string("5") + integer(62, 4, 0x10) + string("6")
    half = len(own) // 2
    c.send(headers(stream, block(*c.fields()) + own[:half], flags=0), continuation(stream, own[half:] + indexed))
    seen = c.echoed(stream)
    if not isinstance(seen, dict):
        return seen
    agents = [value for name, value in seen["fields"] if name == "user-agent"]
    found = {name: value for name, value in seen["fields"] if name.startswith("x-") and len(name) == 3}
    return ANSWERED if agents == ["4", "5", "6"] and found == {"x-a": "1", "x-b": "2", "x-c": "3"} else str(seen["fields"])
