//! The same for HTTP/2, frame by frame: RFC 9113 has fewer ways to be read in two ways, and more to be wrong.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use crate::answers::{
    CUT_OFF, MALFORMED, NO_ANSWER, Owed, RESET, Row, Stage, TOO_LARGE, Then, play_at, row, say,
};
use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use crate::setup::serving;

const PUSH_PROMISE: u8 = 5;
const VIOLATION: &str = "violation of the HTTP/2 protocol";
const BROKEN: Owed = Owed::Broken(VIOLATION);
const REFUSED: Owed = Owed::Refused(MALFORMED, VIOLATION);
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// A frame of the stream of the request.
fn of_stream(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame(kind, flags, STREAM, payload)
}

/// Stands for the number of the stream, which is known only when the request has come.
const STREAM: u32 = 0x7a7a_7a7b;
/// The first one of this side, which a server must not use without a promise.
const CONNECTION: u32 = 0;

fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    of_stream(HEADERS, END_HEADERS, &block(fields))
}

/// A good head, with these fields.
fn good(fields: &[(&str, &str)]) -> Vec<u8> {
    head(&[&[(":status", "200")], fields].concat())
}

fn data(text: &str) -> Vec<u8> {
    of_stream(DATA, 0, text.as_bytes())
}

fn last(text: &str) -> Vec<u8> {
    of_stream(DATA, END_STREAM, text.as_bytes())
}

fn reset(code: u32) -> Vec<u8> {
    of_stream(RST_STREAM, 0, &code.to_be_bytes())
}

fn trailers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    of_stream(HEADERS, flags, &block(fields))
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, CONNECTION, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

fn refused(frames: &[Vec<u8>]) -> Row {
    row("GET", frames.concat(), Then::Stays, REFUSED)
}

fn broken(frames: &[Vec<u8>]) -> Row {
    row("GET", [&[good(&[])], frames].concat().concat(), Then::Stays, BROKEN)
}

/// The upstream says so itself, within the rules.
fn within_the_rules(frames: &[Vec<u8>], owed: Owed) -> Row {
    Row { may_go_on: true, ..row("POST", frames.concat(), Then::Stays, owed) }
}

fn heads() -> Vec<Row> {
    let mut rows: Vec<Row> = [
        // RFC 9113, 8.2.2: fields of a connection.
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        // 8.2.1: names and values.
        ("Upper", "x"),
        ("a b", "x"),
        ("a:b", "x"),
        ("", "x"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        // 8.3: pseudo-fields.
        (":status", "200"),
        (":unknown", "x"),
        // 8.1.1 and RFC 9110, 8.6: lengths.
        ("content-length", "+3"),
        ("content-length", "-3"),
        ("content-length", "3, 4"),
        ("content-length", "18446744073709551616"),
    ]
    .into_iter()
    .map(|field| refused(&[good(&[field]), last("abc")]))
    .collect();
    rows.extend(
        ["99", "1000", "abc", "", "2 0", "+20", "0200"]
            .map(|status| refused(&[head(&[(":status", status)])])),
    );
    let not_a_number = Owed::Refused(MALFORMED, "not one plain number");
    let not_a_name = Owed::Refused(MALFORMED, "cannot stand in a name");
    rows.extend([
        // A regression: the library lets this byte pass, and it cannot stand in a name of HTTP/1 (RFC 9110, 5.6.2).
        row("GET", [good(&[("content-l\"ngth", "3")]), last("abc")].concat(), Then::Stays, not_a_name),
        row("GET", [good(&[("content-length", "")]), last("abc")].concat(), Then::Stays, not_a_number),
        row(
            "GET",
            [good(&[("content-length", "3"), ("content-length", "3")]), last("abc")].concat(),
            Then::Stays,
            not_a_number,
        ),
        refused(&[head(&[("x", "y")])]),
        refused(&[head(&[("x", "y"), (":status", "200")])]),
        refused(&[good(&[("content-length", "3"), ("content-length", "4")]), last("abc")]),
        refused(&[of_stream(
            HEADERS,
            END_HEADERS | END_STREAM,
            &block(&[(":status", "200"), ("content-length", "5")]),
        )]),
        // An interim answer cannot be the last word.
        refused(&[of_stream(HEADERS, END_HEADERS | END_STREAM, &block(&[(":status", "103")]))]),
        refused(&[
            head(&[(":status", "200"), ("transfer-encoding", "chunked"), ("content-length", "3")]),
            last("abc"),
        ]),
    ]);
    let long = "a".repeat(16_000);
    let too_large = [(":status", "200"), ("a", &long), ("b", &long), ("c", &long)];
    let much_too_large = [&too_large[..], &[("d", &long), ("e", &long), ("f", &long)]].concat();
    let many: Vec<_> = std::iter::once((":status", "200")).chain([("a", "b"); 101]).collect();
    let owed = Owed::Refused(TOO_LARGE, "longer than accepted");
    rows.push(row("GET", in_pieces(&too_large), Then::Stays, owed));
    rows.push(row("GET", in_pieces(&many), Then::Stays, owed));
    rows.push(row("GET", in_pieces(&much_too_large), Then::Stays, REFUSED));
    rows
}

/// A head in as many frames as it needs, without a body.
fn in_pieces(fields: &[(&str, &str)]) -> Vec<u8> {
    let block = block(fields);
    let pieces = block.chunks(16_384);
    let last = pieces.len() - 1;
    let piece = |(nth, piece): (usize, &[u8])| {
        let kind = if nth == 0 { HEADERS } else { CONTINUATION };
        let begins = if nth == 0 { END_STREAM } else { 0 };
        of_stream(kind, begins | if nth == last { END_HEADERS } else { 0 }, piece)
    };
    pieces.enumerate().flat_map(piece).collect()
}

/// Frames that must not come, or not so.
fn frames() -> Vec<Row> {
    vec![
        refused(&[last("abc")]),
        refused(&[frame(DATA, 0, CONNECTION, b"x")]),
        refused(&[frame(WINDOW_UPDATE, 0, CONNECTION, &[0; 4])]),
        refused(&[of_stream(WINDOW_UPDATE, 0, &[0; 4])]),
        refused(&[frame(SETTINGS, 0, CONNECTION, &[0; 5])]),
        refused(&[frame(SETTINGS, 0, CONNECTION, &[0, 4, 0xff, 0xff, 0xff, 0xff])]),
        refused(&[frame(PING, 0, CONNECTION, &[0; 7])]),
        refused(&[of_stream(CONTINUATION, END_HEADERS, &block(&[("x", "y")]))]),
        refused(&[of_stream(HEADERS, 0, &block(&[(":status", "200")])), data("abc")]),
        refused(&[of_stream(
            PUSH_PROMISE,
            END_HEADERS,
            &[&[0, 0, 0, 2], &block(&[(":method", "GET")])[..]].concat(),
        )]),
        refused(&[frame(HEADERS, END_HEADERS, 2, &block(&[(":status", "200")]))]),
        refused(&[frame(RST_STREAM, 0, 0x7a7a_0001, &[0; 4])]),
        // An index that is not there (RFC 7541, 2.3.3).
        refused(&[of_stream(HEADERS, END_HEADERS, &[0xff, 0xff, 0xff, 0x7f])]),
        refused(&[of_stream(DATA, 0, &[b'x'; 16_385])]),
        // Padding that is longer than its frame.
        refused(&[of_stream(HEADERS, END_HEADERS | 8, &[0xff, 0x88])]),
        refused(&[b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n".to_vec()]),
    ]
}

fn bodies() -> Vec<Row> {
    let length = |n| good(&[("content-length", n)]);
    let stays = |frames: &[Vec<u8>], owed| row("GET", frames.concat(), Then::Stays, owed);
    vec![
        stays(&[length("5"), last("abc")], BROKEN),
        stays(&[length("3"), data("abc"), last("de")], Owed::TooLate("abc", VIOLATION)),
        // RFC 9113, 8.1: fields behind a body end it, and have no pseudo-fields.
        broken(&[data("abc"), trailers(END_HEADERS | END_STREAM, &[("x", "y"), (":path", "/")])]),
        broken(&[data("abc"), trailers(END_HEADERS, &[("x", "y")])]),
        broken(&[data("abc"), trailers(END_HEADERS | END_STREAM, &[("connection", "close")])]),
        broken(&[data("abc"), trailers(END_HEADERS | END_STREAM, &[("Upper", "y")])]),
        broken(&[data("abc"), frame(SETTINGS, 0, CONNECTION, &[0; 5])]),
        broken(&[data("abc"), of_stream(DATA, 8, &[9, b'x'])]),
    ]
}

/// What ends early without being malformed.
fn ends() -> Vec<Row> {
    let cut_off = Owed::Broken(CUT_OFF);
    let no_answer = Owed::Refused(RESET, NO_ANSWER);
    // RFC 9113, 8.7: not processed, and told so.
    let unprocessed = Owed::Refused(RESET, "refused the request without looking at it");
    let closes = |frames: &[Vec<u8>], owed| row("POST", frames.concat(), Then::Closes, owed);
    vec![
        within_the_rules(&[reset(INTERNAL_ERROR)], no_answer),
        within_the_rules(&[reset(CANCEL)], no_answer),
        within_the_rules(&[reset(NO_ERROR)], no_answer),
        // The upstream means the engine, which has sent nothing wrong.
        within_the_rules(&[reset(PROTOCOL_ERROR)], no_answer),
        within_the_rules(&[reset(REFUSED_STREAM)], unprocessed),
        within_the_rules(&[good(&[]), data("abc"), reset(INTERNAL_ERROR)], cut_off),
        within_the_rules(&[good(&[]), data("abc"), reset(CANCEL)], cut_off),
        within_the_rules(&[good(&[]), data("abc"), reset(PROTOCOL_ERROR)], cut_off),
        // RFC 9113, 8.1, has it behind a whole answer. Within one it ends nothing.
        within_the_rules(&[good(&[]), data("abc"), reset(NO_ERROR)], cut_off),
        within_the_rules(&[good(&[]), reset(NO_ERROR)], cut_off),
        within_the_rules(&[good(&[]), last("abc"), reset(NO_ERROR)], Owed::Passed(200, "abc")),
        closes(&[], no_answer),
        closes(&[good(&[])], cut_off),
        closes(&[good(&[]), data("abc")], cut_off),
        closes(&[goaway(0, NO_ERROR)], unprocessed),
        closes(&[goaway(STREAM, NO_ERROR)], no_answer),
        closes(&[good(&[]), data("abc"), goaway(STREAM, NO_ERROR)], cut_off),
        closes(&[good(&[]), data("abc"), goaway(STREAM, INTERNAL_ERROR)], cut_off),
        // One that says goodbye finishes what it has begun, and is asked nothing more.
        row(
            "POST",
            [good(&[]), data("abc"), goaway(STREAM, NO_ERROR), last("de")].concat(),
            Then::Stays,
            Owed::Passed(200, "abcde"),
        ),
    ]
}

/// What is wrong and reaches nobody, and so is no harm: the frames say where it ends.
fn ignored() -> Vec<Row> {
    let passes = |frames: &[Vec<u8>], body| Row {
        may_go_on: true,
        ..row("GET", frames.concat(), Then::Stays, Owed::Passed(200, body))
    };
    let stays = |method, frames: &[Vec<u8>], status| Row {
        may_go_on: true,
        ..row(method, frames.concat(), Then::Stays, Owed::Passed(status, ""))
    };
    vec![
        // RFC 9113, 8.3, calls these malformed. The library drops the field and does not say so.
        passes(&[good(&[(":path", "/")]), last("abc")], "abc"),
        passes(&[good(&[(":method", "GET")]), last("abc")], "abc"),
        passes(&[good(&[]), data("abc"), trailers(END_HEADERS | END_STREAM, &[(":status", "200")])], "abc"),
        // Bytes where none may be.
        passes(&[good(&[("content-length", "0")]), last("abc")], ""),
        stays("GET", &[head(&[(":status", "204")]), last("abc")], 204),
        stays("GET", &[head(&[(":status", "304")]), last("abc")], 304),
        stays("HEAD", &[good(&[]), last("abc")], 200),
        stays(
            "HEAD",
            &[of_stream(
                HEADERS,
                END_HEADERS | END_STREAM,
                &block(&[(":status", "200"), ("content-length", "5")]),
            )],
            200,
        ),
        stays(
            "GET",
            &[of_stream(
                HEADERS,
                END_HEADERS | END_STREAM,
                &block(&[(":status", "304"), ("content-length", "5")]),
            )],
            304,
        ),
    ]
}

#[tokio::test]
async fn heads_that_are_malformed() {
    play(&heads()).await;
}

#[tokio::test]
async fn frames_that_should_not_be() {
    play(&frames()).await;
}

#[tokio::test]
async fn bodies_that_are_not_what_was_said() {
    play(&bodies()).await;
}

#[tokio::test]
async fn ends_that_come_early() {
    play(&ends()).await;
}

#[tokio::test]
async fn what_reaches_nobody_is_no_harm() {
    play(&ignored()).await;
}

async fn play(rows: &[Row]) {
    let stage = Arc::new(Stage::default());
    let plays = Arc::clone(&stage);
    let upstream = serving(move |_, stream| {
        // The end of the connection is the end of it.
        let _ = serve(&plays, stream);
    });
    play_at(rows, &stage, upstream, ", protocol: h2").await;
}

fn serve(stage: &Stage, mut stream: TcpStream) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24])?;
    stream.write_all(&frame(SETTINGS, 0, CONNECTION, &[]))?;
    let mut has_spoken = false;
    loop {
        let (kind, flags, number) = read_frame(&mut stream)?;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, CONNECTION, &[]))?,
            HEADERS => {
                if has_spoken {
                    stage.was_used_again();
                }
                let Some((bytes, then)) = stage.next() else {
                    let ok = [
                        frame(HEADERS, END_HEADERS, number, &[0x88]),
                        frame(DATA, END_STREAM, number, b"ok"),
                    ];
                    stream.write_all(&ok.concat())?;
                    continue;
                };
                has_spoken = true;
                say(&mut stream, &on_stream(&bytes, number), then);
                if matches!(then, Then::Closes | Then::Resets) {
                    return Ok(());
                }
            }
            _ => {}
        }
    }
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    stream.read_exact(&mut vec![0; length])?;
    Ok((head[3], head[4], u32::from_be_bytes(head[5..].try_into().unwrap())))
}

/// Puts the number of the stream where it stands.
fn on_stream(bytes: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mark = STREAM.to_be_bytes();
    let mut at = 0;
    while at + 4 <= bytes.len() {
        if bytes[at..at + 4] == mark {
            bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        at += 1;
    }
    bytes
}
