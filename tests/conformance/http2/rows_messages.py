"""Section 8 of RFC 9113: requests, their fields, and CONNECT."""

from .client import block, data, headers
from .table import ANSWERED, IGNORED, MALFORMED, STREAM_CLOSED, row, stream_error

# --- 8.1 HTTP message framing


@row("8.1", "trailers", ANSWERED)
def trailers(c):
    stream = c.post()
    c.send(data(stream, b"ab"), headers(stream, block(("x-checksum", "1"))))
    return c.body_arrives(stream, "ab")


@row("8.1", "trailers without DATA before them", ANSWERED)
def trailers_at_once(c):
    stream = c.post()
    c.send(headers(stream, block(("x-checksum", "1"))))
    return c.body_arrives(stream, "")


@row("8.1", "a second HEADERS frame without END_STREAM", *MALFORMED)
def trailers_without_end(c):
    stream = c.late()
    c.send(data(stream, b"a"), headers(stream, block(("x", "y")), end=False), data(stream, b"b", end=True))
    return stream


@row("8.1", "DATA after trailers", *stream_error(STREAM_CLOSED), *MALFORMED)
def data_after_trailers(c):
    stream = c.post(what="held")
    c.send(headers(stream, block(("x", "y"))), data(stream, b"b", end=True))
    return stream


@row("8.1", "a pseudo-header field in trailers", *MALFORMED)
def pseudo_in_trailers(c):
    stream = c.late()
    c.send(data(stream, b"a"), headers(stream, block((":method", "GET"))))
    return stream


@row("8.1", "the answer to HEAD has no DATA", ANSWERED)
def head_has_no_content(c):
    verdict = c.answer(c.request(method="HEAD"))
    return verdict if not c.content else f"{verdict} with {len(c.content)} octets"


# --- 8.1.1 Malformed messages: content-length


def _with_length(c, length, *contents):
    stream = c.late(("content-length", length))
    c.send(*[data(stream, content, end=number == len(contents)) for number, content in enumerate(contents, 1)])
    return stream


@row("8.1.1", "content-length larger than the DATA", *MALFORMED)
def content_length_too_large(c):
    return _with_length(c, "3", b"ab")


@row("8.1.1", "content-length smaller than the DATA", *MALFORMED)
def content_length_too_small(c):
    return _with_length(c, "1", b"ab")


@row("8.1.1", "content-length larger than several DATA frames together", *MALFORMED)
def content_length_of_several_too_large(c):
    return _with_length(c, "7", b"ab", b"", b"cd")


@row("8.1.1", "content-length smaller than several DATA frames together", *MALFORMED)
def content_length_of_several_too_small(c):
    return _with_length(c, "3", b"ab", b"cd")


@row("8.1.1", "content-length of 5 and no DATA at all: END_STREAM is on HEADERS", *MALFORMED)
def content_length_without_data(c):
    return c.request(("content-length", "5"), method="POST", what="late")


@row("8.1.1", "content-length larger than the DATA before trailers", *MALFORMED)
def content_length_before_trailers(c):
    stream = c.late(("content-length", "3"))
    c.send(data(stream, b"ab"), headers(stream, block(("x", "y"))))
    return stream


@row("8.1.1", "content-length that counts the padding", *MALFORMED)
def content_length_with_padding(c):
    stream = c.late(("content-length", "5"))
    c.send(data(stream, b"\x02ab" + bytes(2), flags=0x8, end=True))
    return stream


@row("8.1.1", "content-length that is no number", *MALFORMED)
def content_length_no_number(c):
    return c.bad(("content-length", "2x"), method="POST")


@row("8.1.1", "content-length with a sign", *MALFORMED)
def content_length_with_sign(c):
    return c.bad(("content-length", "+2"), method="POST")


@row("8.1.1", "two content-lengths that differ", *MALFORMED)
def content_length_twice(c):
    stream = c.bad(("content-length", "2"), ("content-length", "3"), method="POST", end=False)
    c.send(data(stream, b"ab", end=True))
    return stream


@row("8.1.1", "content-length that equals several DATA frames, one with padding", ANSWERED)
def content_length_that_fits(c):
    stream = c.post(("content-length", "4"))
    c.send(data(stream, b"ab"), data(stream, b"\x02cd" + bytes(2), flags=0x8, end=True))
    return c.body_arrives(stream, "abcd")


# --- 8.2.1 Field validity

BAD_NAMES = {
    "uppercase": "X-Upper", "uppercase at the end": "x-uppeR", "space": "x y", "trailing space": "x ", "tab": "x\ty",
    "NUL": "x\0y", "LF": "x\ny", "CR": "x\ry", "DEL": "x\x7fy", "above ASCII": "x\x80y", "colon": "x:y",
    "trailing colon": "x:", "nothing": "",
}
BAD_VALUES = {
    "NUL": "a\0b", "LF": "a\nb", "CR": "a\rb", "CRLF and a field": "a\r\nx-smuggled: 1", "trailing LF": "a\n",
    "leading space": " a", "trailing space": "a ", "leading tab": "\ta", "trailing tab": "a\t",
}


def _name_row(what, name):
    def run(c):
        return c.bad((name, "v"))
    run.__name__ = f"name_with_{what.replace(' ', '_')}"
    row("8.2.1", f"a field name with {what}", *MALFORMED)(run)


def _value_row(what, value):
    def run(c):
        return c.bad(("x-field", value))
    run.__name__ = f"value_with_{what.replace(' ', '_')}"
    row("8.2.1", f"a field value with {what}", *MALFORMED)(run)


for _what, _name in BAD_NAMES.items():
    _name_row(_what, _name)
for _what, _value in BAD_VALUES.items():
    _value_row(_what, _value)


@row("8.2.1", "an uppercase field name in trailers", *MALFORMED)
def name_with_uppercase_in_trailers(c):
    stream = c.late()
    c.send(data(stream, b"a"), headers(stream, block(("X-Upper", "v"))))
    return stream


@row("8.2.1", "a field value with LF in trailers", *MALFORMED)
def value_with_lf_in_trailers(c):
    stream = c.late()
    c.send(data(stream, b"a"), headers(stream, block(("x-field", "a\nb"))))
    return stream


@row("8.2.1", "a field name of all characters that are allowed, and values with inner whitespace and obs-text", ANSWERED)
def unusual_fields(c):
    odd = ["!#$%&'*+-.^_`|~0az", "a \t b\x80\xff"]
    stream = c.request(tuple(odd), ("x-empty", ""))
    seen = c.echoed(stream)
    return ANSWERED if isinstance(seen, dict) and odd in seen["fields"] and ["x-empty", ""] in seen["fields"] else str(seen)


# --- 8.2.2 Connection-specific header fields

CONNECTION_FIELDS = {
    "connection": "keep-alive", "proxy-connection": "keep-alive", "keep-alive": "timeout=5", "upgrade": "h2c",
    "transfer-encoding": "chunked", "te": "gzip",
}


def _connection_row(name, value):
    def run(c):
        return c.bad((name, value))
    run.__name__ = f"connection_field_{name.replace('-', '_')}"
    row("8.2.2", f"the field {name}: {value}", *MALFORMED)(run)


for _name, _value in CONNECTION_FIELDS.items():
    _connection_row(_name, _value)


@row("8.2.2", "the field te: trailers, gzip", *MALFORMED)
def te_with_more(c):
    return c.bad(("te", "trailers, gzip"))


@row("8.2.2", "the field connection in trailers", *MALFORMED)
def connection_field_in_trailers(c):
    stream = c.late()
    c.send(data(stream, b"a"), headers(stream, block(("connection", "close"))))
    return stream


@row("8.2.2", "the field te: trailers", ANSWERED)
def te_trailers(c):
    return c.request(("te", "trailers"))


# --- 8.2.3 Cookies


@row("8.2.3", "three cookie fields: the upstream gets one", ANSWERED)
def cookies_are_joined(c):
    seen = c.echoed(c.request(("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("cookie", "e=f")))
    if not isinstance(seen, dict):
        return seen
    cookies = [value for name, value in seen["fields"] if name == "cookie"]
    return ANSWERED if cookies == ["a=b; c=d; e=f"] else f"the cookies {cookies}"


# --- 8.3 HTTP control data


@row("8.3", "an undefined pseudo-header field", *MALFORMED)
def pseudo_unknown(c):
    return c.bad((":unknown", "x"))


@row("8.3", "an undefined pseudo-header field before all others", *MALFORMED)
def pseudo_unknown_first(c):
    stream = c.stream()
    c.send(headers(stream, block((":unknown", "x"), *c.fields(what="bad"))))
    return stream


@row("8.3", "a pseudo-header field of answers", *MALFORMED)
def pseudo_of_answers(c):
    stream = c.stream()
    c.send(headers(stream, block((":status", "200"), *c.fields(what="bad"))))
    return stream


@row("8.3", ":protocol, which nobody has agreed on", *MALFORMED)
def pseudo_protocol(c):
    stream = c.stream()
    c.send(headers(stream, block((":protocol", "websocket"), *c.fields(what="bad", method="CONNECT"))))
    return stream


@row("8.3", "a pseudo-header field after another field", *MALFORMED)
def pseudo_after_field(c):
    stream = c.stream()
    fields = c.fields(what="bad")
    c.send(headers(stream, block(*fields[:-1], ("x", "y"), fields[-1])))
    return stream


def _twice_row(name, other):
    def run(c):
        stream = c.stream()
        c.send(headers(stream, block(*c.fields(what="bad"), (f":{name}", other))))
        return stream
    run.__name__ = f"pseudo_{name}_twice"
    row("8.3", f"the pseudo-header field :{name} twice", *MALFORMED)(run)


def _missing_row(name):
    def run(c):
        return c.bad(leave_out=(name,))
    run.__name__ = f"pseudo_{name}_missing"
    row("8.3.1", f"no pseudo-header field :{name}", *MALFORMED)(run)


for _name, _other in {"method": "GET", "scheme": "http", "authority": "localhost", "path": "/v1/x"}.items():
    _twice_row(_name, _other)
for _name in ("method", "scheme", "path"):
    _missing_row(_name)


# --- 8.3.1 Request pseudo-header fields

BAD_PSEUDO = {
    "path of nothing": {"path": ""},
    "path without a slash": {"path": "v1/{row}/bad"},
    "path with a space": {"path": "/v1/{row}/bad x"},
    "path with LF": {"path": "/v1/{row}/bad\nx"},
    "path with CRLF and a field": {"path": "/v1/{row}/bad HTTP/1.1\r\nx: y"},
    "path with NUL": {"path": "/v1/{row}/bad\0"},
    "path that is a whole URI": {"path": "http://localhost/v1/{row}/bad"},
    "path of an asterisk with GET": {"path": "*"},
    "method with a space": {"method": "GE T"},
    "method with LF": {"method": "GET\n"},
    "method of nothing": {"method": ""},
    "scheme with a space": {"scheme": "ht tp"},
    "scheme of nothing": {"scheme": ""},
    "authority with userinfo": {"authority": "user:secret@localhost"},
    "authority with a space": {"authority": "local host"},
    "authority with CRLF": {"authority": "localhost\r\nx: y"},
    "authority with a path": {"authority": "localhost/v1"},
}


def _pseudo_row(what, values):
    def run(c):
        return c.bad(**{name: value.replace("{row}", c.row) for name, value in values.items()})
    run.__name__ = what.replace(" ", "_")
    name = next(iter(values))
    row("8.3.1", f"a :{name} {what.removeprefix(name).strip()}", *MALFORMED)(run)


for _what, _values in BAD_PSEUDO.items():
    _pseudo_row(_what, _values)


@row("8.3.1", "a host that differs from :authority", *MALFORMED)
def host_differs(c):
    return c.bad(("host", "other.example"))


@row("8.3.1", "a host that equals :authority", ANSWERED)
def host_equals(c):
    return c.request(("host", "localhost"))


@row("8.3.1", "host instead of :authority", ANSWERED)
def host_alone(c):
    return c.request(("host", "localhost"), leave_out=("authority",))


@row("8.3.1", "neither :authority nor host: nothing says what is meant", *MALFORMED)
def no_authority(c):
    return c.bad(leave_out=("authority",))


@row("8.3.1", "two host fields", *MALFORMED)
def host_twice(c):
    return c.bad(("host", "localhost"), ("host", "localhost"))


# --- 8.5 The CONNECT method


@row("8.5", "CONNECT with :scheme and :path", *MALFORMED, "answer 501")
def connect_with_path(c):
    return c.bad(method="CONNECT", authority="localhost:80")


@row("8.5", "CONNECT without :authority", *MALFORMED, "answer 501")
def connect_without_authority(c):
    return c.bad(method="CONNECT", leave_out=("scheme", "path", "authority"))


@row("8.5", "CONNECT in order, to a server that opens no tunnels", "answer 501", "answer 405", "answer 403")
def connect_is_refused(c):
    return c.bad(method="CONNECT", authority="localhost:80", leave_out=("scheme", "path"))


@row("8.5", "CONNECT in order, with DATA: the connection goes on", IGNORED)
def connect_with_data(c):
    stream = c.bad(method="CONNECT", authority="localhost:80", leave_out=("scheme", "path"), end=False)
    c.answer(stream)
    c.send(data(stream, b"x", end=True))
    return c.next_answered(stream)
