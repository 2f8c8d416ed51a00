//! Whether what the engine sends is well-formed, as far as it comes.

/// Says what is wrong with the bytes of a connection. An end anywhere is right: it may be the client's own doing.
pub(crate) fn ill_formed(answer: &[u8]) -> Option<String> {
    // The first frame is SETTINGS, whose length begins with 0.
    let read = if answer.first() == Some(&0) { http2(answer) } else { http1(answer) };
    match read {
        Ok(()) | Err(Stop::Cut) => None,
        Err(Stop::Wrong(what)) => Some(what),
    }
}

/// Why reading does not go on.
enum Stop {
    /// Nothing more has come.
    Cut,
    Wrong(String),
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(what.into()))
}

fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Stop> {
    let end = rest.windows(2).position(|two| two == b"\r\n").ok_or(Stop::Cut)?;
    let (line, after) = rest.split_at(end);
    *rest = &after[2..];
    match std::str::from_utf8(line) {
        Ok(text) if !text.contains(|c: char| c.is_ascii_control() && c != '\t') => Ok(text),
        _ => wrong(format!("a line: {}", line.escape_ascii())),
    }
}

fn take(rest: &mut &[u8], length: usize) -> Result<(), Stop> {
    *rest = rest.get(length..).ok_or(Stop::Cut)?;
    Ok(())
}

fn http1(mut rest: &[u8]) -> Result<(), Stop> {
    while !rest.is_empty() {
        let status = status_line(line(&mut rest)?)?;
        let (mut length, mut is_chunked) = (None, false);
        loop {
            let field = line(&mut rest)?;
            if field.is_empty() {
                break;
            }
            let Some((name, value)) = field.split_once(": ") else {
                return wrong(format!("a field: {field}"));
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b"-0123456789".contains(&b))
            {
                return wrong(format!("a name: {field}"));
            }
            match name {
                "content-length" if length.is_some() => return wrong("two lengths"),
                "content-length" => length = value.parse::<usize>().ok(),
                "transfer-encoding" => is_chunked = true,
                _ => {}
            }
        }
        match (status, length, is_chunked) {
            (_, Some(_), true) => return wrong("a length and a coding"),
            (100..200 | 204, None, false) => {}
            (100..200 | 204, _, _) => return wrong("a body that cannot be"),
            (_, Some(length), _) => take(&mut rest, length)?,
            (_, None, true) => chunks(&mut rest)?,
            (_, None, false) => return Ok(()),
        }
    }
    Ok(())
}

fn status_line(line: &str) -> Result<u16, Stop> {
    let status =
        line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|status| status.parse().ok());
    match status {
        Some(status @ 100..600) => Ok(status),
        _ => wrong(format!("a status line: {line}")),
    }
}

fn chunks(rest: &mut &[u8]) -> Result<(), Stop> {
    loop {
        let size = line(rest)?;
        let Ok(size) = usize::from_str_radix(size, 16) else { return wrong(format!("a chunk size: {size}")) };
        if size == 0 {
            while !line(rest)?.is_empty() {}
            return Ok(());
        }
        take(rest, size)?;
        if !line(rest)?.is_empty() {
            return wrong("data longer than its chunk");
        }
    }
}

fn http2(mut rest: &[u8]) -> Result<(), Stop> {
    const KINDS: u8 = 10;
    let mut is_first = true;
    while !rest.is_empty() {
        let Some((head, after)) = rest.split_first_chunk::<9>() else { return Err(Stop::Cut) };
        let [a, b, c, kind, _, stream @ ..] = *head;
        let (length, stream) = (u32::from_be_bytes([0, a, b, c]), u32::from_be_bytes(stream));
        // DATA, HEADERS and RST_STREAM belong to streams of the client; SETTINGS, PING and GOAWAY to none.
        let fits = match kind {
            0 | 1 | 3 => stream % 2 == 1,
            4 | 6 | 7 => stream == 0,
            _ => true,
        };
        if length > 16_384 || kind >= KINDS || !fits || (is_first && kind != 4) {
            return wrong(format!("a frame of kind {kind}, length {length}, stream {stream}"));
        }
        is_first = false;
        rest = after;
        take(&mut rest, length as usize)?;
    }
    Ok(())
}
