//! From parser events to the tree, with a budget.
//!
//! The open collections are a stack of frames; a finished node goes to the frame on top. Nothing here recurses.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::surrogate;
use super::{Key, Limits, Node, Value};
use crate::{Finding, Position};

/// More duplicate keys than this are not listed: the first hundred say enough.
const FINDINGS_MAX: usize = 100;

/// Reads one YAML or JSON document. See the module for the rules.
///
/// # Errors
/// What is wrong, in the order of the text: `yaml_syntax`, `yaml_duplicate_key`, `yaml_key`, `yaml_tag`, `yaml_alias`,
/// `yaml_documents`, `yaml_too_large`, `yaml_too_deep`, `yaml_too_many_nodes`. Never empty.
pub fn parse(text: &str, limits: &Limits) -> Result<Node, Vec<Finding>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let hidden = prepare(text, limits).map_err(|finding| vec![finding])?;
    let mut builder = Builder::new(limits, hidden.is_some());
    if let Err(last) = builder.run(hidden.as_deref().unwrap_or(text)) {
        builder.findings.push(last);
    }
    if !builder.findings.is_empty() {
        builder.findings.sort_by_key(|finding| finding.position);
        return Err(builder.findings);
    }
    Ok(builder.root.unwrap_or_else(|| empty_scalar(Position::START)))
}

/// Refuses what the scanner would misread, and hides surrogate escapes from it.
fn prepare(text: &str, limits: &Limits) -> Result<Option<String>, Finding> {
    let start = (Position::START, Position::START);
    if text.len() > limits.bytes_max {
        let message =
            format!("the text has {} bytes, more than the {} allowed", text.len(), limits.bytes_max);
        return Err(Finding::error("yaml_too_large", start, message));
    }
    // The scanner takes NUL for the end of the text: what follows would be dropped in silence.
    let control = text.bytes().position(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'));
    if let Some(offset) = control {
        let at = position_of(text, offset);
        let message = format!("control character U+{:04X}", text.as_bytes()[offset]);
        return Err(
            Finding::error("yaml_syntax", (at, at), message).help("write it as an escape in double quotes")
        );
    }
    surrogate::hide(text).map_err(|_| {
        Finding::error("yaml_syntax", start, "escaped surrogate pairs beside characters U+E800 to U+EFFF")
            .help("write the characters themselves instead of \\u escapes")
    })
}

/// The place of a byte; CRLF is one break, and so is CR alone, as in YAML.
fn position_of(text: &str, offset: usize) -> Position {
    let before = &text.as_bytes()[..offset];
    let is_break = |at: usize| match before[at] {
        b'\n' => true,
        b'\r' => before.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    let mut at = Position::START;
    for (index, byte) in before.iter().enumerate() {
        if is_break(index) {
            at = Position { line: at.line.saturating_add(1), column: 1 };
        } else if byte & 0xc0 != 0x80 {
            at.column = at.column.saturating_add(1);
        }
    }
    at
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn span_of(span: Span) -> (Position, Position) {
    let position =
        |mark: saphyr_parser::Marker| Position { line: clamp(mark.line()), column: clamp(mark.col() + 1) };
    (position(span.start), position(span.end))
}

/// Finds the bytes of a span. Spans only move forward, so the whole text is walked once.
struct Cursor<'t> {
    text: &'t str,
    index: usize,
    offset: usize,
}

impl<'t> Cursor<'t> {
    fn slice(&mut self, span: Span) -> &'t str {
        let start = self.seek(span.start.index());
        let end = self.seek(span.end.index());
        self.text.get(start..end).unwrap_or("")
    }

    fn seek(&mut self, index: usize) -> usize {
        let ahead = self.text[self.offset..].chars().take(index.saturating_sub(self.index));
        let (characters, bytes) = ahead.fold((0, 0), |(n, bytes), c| (n + 1, bytes + c.len_utf8()));
        self.index += characters;
        self.offset += bytes;
        self.offset
    }
}

/// Where a quoted scalar ends. The scanner's span runs on over blanks and a comment behind the closing quote.
fn quoted_end(slice: &str, start: Position) -> Option<Position> {
    let mut rest = slice;
    while rest.starts_with(['&', '!']) {
        rest = rest[rest.find([' ', '\t', '\n', '\r'])?..].trim_start();
    }
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut at = slice.len() - rest.len() + 1;
    loop {
        at += slice[at..].find([quote, '\\'])? + 1;
        match (quote, slice[..at].chars().next_back()?) {
            ('"', '\\') => at += slice[at..].chars().next()?.len_utf8(),
            ('\'', '\'') if slice[at..].starts_with('\'') => at += 1,
            (_, '\\') => {}
            _ => break,
        }
    }
    let end = position_of(slice, at);
    let first_column = if end.line == 1 { start.column - 1 } else { 0 };
    Some(Position { line: start.line + end.line - 1, column: end.column + first_column })
}

fn empty_scalar(at: Position) -> Node {
    Node { position: at, end: at, value: Value::Scalar { text: String::new(), plain: true } }
}

/// A collection that is not finished yet.
struct Frame {
    position: Position,
    anchor: usize,
    open: Open,
}

enum Open {
    Sequence(Vec<Node>),
    /// The key waits for its value.
    Mapping(Vec<(Key, Node)>, Option<Key>),
}

/// A node that aliases may copy, and what one copy costs.
struct Anchored {
    node: Node,
    size: Size,
}

#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text_bytes: usize,
    depth: usize,
}

struct Builder<'l> {
    limits: &'l Limits,
    surrogates_hidden: bool,
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    copied_bytes: usize,
    findings: Vec<Finding>,
}

impl<'l> Builder<'l> {
    fn new(limits: &'l Limits, surrogates_hidden: bool) -> Builder<'l> {
        Builder {
            limits,
            surrogates_hidden,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            nodes: 0,
            copied_bytes: 0,
            findings: Vec::new(),
        }
    }

    fn run(&mut self, text: &str) -> Result<(), Finding> {
        let mut parser = Parser::new_from_str(text);
        let mut cursor = Cursor { text, index: 0, offset: 0 };
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|error| syntax(text, &error))?;
            let mut at = span_of(span);
            if let Event::Scalar(_, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, ..) = &event {
                at.1 = quoted_end(cursor.slice(span), at.0).unwrap_or(at.1);
            }
            self.on_event(event, at)?;
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event<'_>, at: (Position, Position)) -> Result<(), Finding> {
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, anchor, tag.as_deref(), at),
            Event::SequenceStart(anchor, tag) => {
                check_collection_tag(tag.as_deref(), "seq", at)?;
                self.open(Open::Sequence(Vec::new()), anchor, at)
            }
            Event::MappingStart(anchor, tag) => {
                check_collection_tag(tag.as_deref(), "map", at)?;
                self.open(Open::Mapping(Vec::new(), None), anchor, at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Finding::error("yaml_documents", at, "a second document begins here")
                    .help("keep one document a file"))
            }
            Event::DocumentStart(_) | Event::DocumentEnd => Ok(()),
            Event::StreamStart | Event::StreamEnd | Event::Nothing => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        at: (Position, Position),
    ) -> Result<(), Finding> {
        let plain = scalar_is_plain(style, tag, at)?;
        let text = match style {
            _ if !self.surrogates_hidden => text,
            ScalarStyle::DoubleQuoted => surrogate::reveal_escaped(text)
                .map_err(|_| Finding::error("yaml_syntax", at, "half of an escaped surrogate pair"))?,
            _ => surrogate::reveal_literal(text),
        };
        self.charge(Size { nodes: 1, ..Size::default() }, at)?;
        let at = match self.waiting_key() {
            Some(key) if plain && text.is_empty() => (key.end, key.end),
            _ => at,
        };
        let value = Value::Scalar { text: text.into_owned(), plain };
        self.complete(Node { position: at.0, end: at.1, value }, anchor)
    }

    fn open(&mut self, open: Open, anchor: usize, at: (Position, Position)) -> Result<(), Finding> {
        if self.expects_key() {
            return Err(Finding::error("yaml_key", at, "a list or mapping cannot be a key"));
        }
        self.charge(Size { nodes: 1, depth: 1, ..Size::default() }, at)?;
        self.stack.push(Frame { position: at.0, anchor, open });
        Ok(())
    }

    fn close(&mut self, at: (Position, Position)) -> Result<(), Finding> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let (last_end, value) = match frame.open {
            Open::Sequence(items) => (items.last().map(|item| item.end), Value::Sequence(items)),
            Open::Mapping(entries, _) => {
                self.find_duplicates(&entries);
                (entries.last().map(|(_, node)| node.end), Value::Mapping(entries))
            }
        };
        // A bracket is one character, though its span runs on over blanks. The end of a block collection is only
        // noticed at whatever comes next; its last entry is where it ends.
        let is_flow = at.0 != at.1;
        let end = match last_end {
            _ if is_flow => Position { column: at.0.column + 1, ..at.0 },
            Some(end) => end.max(frame.position),
            None => frame.position,
        };
        self.complete(Node { position: frame.position, end, value }, frame.anchor)
    }

    fn alias(&mut self, anchor: usize, at: (Position, Position)) -> Result<(), Finding> {
        let Some(Anchored { node, size }) = self.anchors.get(&anchor) else {
            return Err(Finding::error("yaml_alias", at, "this alias stands inside what it names"));
        };
        let (node, size) = (node, *size);
        // Checked before the copy is made.
        charge(self.limits, &mut self.nodes, &mut self.copied_bytes, self.stack.len(), size, at)?;
        let copy = node.clone();
        self.complete(copy, 0)
    }

    /// Gives a finished node to its parent.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), Finding> {
        if anchor != 0 {
            let size = measure(&node);
            // Depth was charged when the node was opened; this is for the original kept aside.
            self.charge(Size { depth: 0, ..size }, node.span())?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), size });
        }
        match self.stack.last_mut().map(|frame| &mut frame.open) {
            None => self.root = Some(node),
            Some(Open::Sequence(items)) => items.push(node),
            Some(Open::Mapping(entries, key @ Some(_))) => entries.extend(key.take().map(|key| (key, node))),
            Some(Open::Mapping(_, key @ None)) => *key = Some(key_of(node)?),
        }
        Ok(())
    }

    fn waiting_key(&self) -> Option<&Key> {
        match &self.stack.last()?.open {
            Open::Mapping(_, key) => key.as_ref(),
            Open::Sequence(_) => None,
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { open: Open::Mapping(_, None), .. }))
    }

    fn charge(&mut self, size: Size, at: (Position, Position)) -> Result<(), Finding> {
        charge(self.limits, &mut self.nodes, &mut self.copied_bytes, self.stack.len(), size, at)
    }

    fn find_duplicates(&mut self, entries: &[(Key, Node)]) {
        let mut keys: Vec<&Key> = entries.iter().map(|(key, _)| key).collect();
        keys.sort_by(|a, b| a.text.cmp(&b.text));
        for pair in keys.windows(2) {
            if pair[0].text == pair[1].text && self.findings.len() < FINDINGS_MAX {
                let message = format!("`{}` is already set in line {}", pair[1].text, pair[0].position.line);
                self.findings.push(Finding::error("yaml_duplicate_key", pair[1].span(), message));
            }
        }
    }
}

/// Takes `size` from the budget; `depth` is how many collections are open around it.
fn charge(
    limits: &Limits,
    nodes: &mut usize,
    copied_bytes: &mut usize,
    depth: usize,
    size: Size,
    at: (Position, Position),
) -> Result<(), Finding> {
    *nodes = nodes.saturating_add(size.nodes);
    *copied_bytes = copied_bytes.saturating_add(size.text_bytes);
    if depth + size.depth > limits.depth_max {
        let message = format!("nested deeper than the {} levels allowed", limits.depth_max);
        return Err(Finding::error("yaml_too_deep", at, message));
    }
    if *nodes > limits.nodes_max {
        let message = format!("more than the {} values allowed, aliases included", limits.nodes_max);
        return Err(Finding::error("yaml_too_many_nodes", at, message));
    }
    if *copied_bytes > limits.bytes_max {
        let message = format!("aliases copy more than the {} bytes allowed", limits.bytes_max);
        return Err(Finding::error("yaml_too_large", at, message));
    }
    Ok(())
}

fn measure(node: &Node) -> Size {
    let mut size = Size { nodes: 1, ..Size::default() };
    let mut add = |key_bytes: Option<usize>, child: Size| {
        size.nodes += child.nodes + usize::from(key_bytes.is_some());
        size.text_bytes += child.text_bytes + key_bytes.unwrap_or(0);
        size.depth = size.depth.max(child.depth);
    };
    match &node.value {
        Value::Scalar { text, .. } => return Size { text_bytes: text.len(), ..size },
        Value::Sequence(items) => items.iter().for_each(|item| add(None, measure(item))),
        Value::Mapping(entries) => {
            entries.iter().for_each(|(key, child)| add(Some(key.text.len()), measure(child)));
        }
    }
    Size { depth: size.depth + 1, ..size }
}

fn key_of(node: Node) -> Result<Key, Finding> {
    let span = node.span();
    match node.value {
        Value::Scalar { text, plain: true } if text.is_empty() => {
            Err(Finding::error("yaml_key", span, "a key is missing here"))
        }
        Value::Scalar { text, plain } => Ok(Key { text, plain, position: node.position, end: node.end }),
        _ => Err(Finding::error("yaml_key", span, "a list or mapping cannot be a key")),
    }
}

/// Whether a scalar of this style and tag may still mean something other than text.
fn scalar_is_plain(style: ScalarStyle, tag: Option<&Tag>, at: (Position, Position)) -> Result<bool, Finding> {
    let plain = style == ScalarStyle::Plain;
    let Some(tag) = tag else { return Ok(plain) };
    if tag.handle.is_empty() && tag.suffix == "!" {
        return Ok(false);
    }
    match tag.suffix.as_str() {
        "str" if tag.is_yaml_core_schema() => Ok(false),
        "null" | "bool" | "int" | "float" if tag.is_yaml_core_schema() => Ok(plain),
        _ => Err(unknown_tag(tag, at)),
    }
}

fn check_collection_tag(tag: Option<&Tag>, core: &str, at: (Position, Position)) -> Result<(), Finding> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == core) => Err(unknown_tag(tag, at)),
        _ => Ok(()),
    }
}

fn unknown_tag(tag: &Tag, at: (Position, Position)) -> Finding {
    Finding::error("yaml_tag", at, format!("the tag `{}{}` has no meaning here", tag.handle, tag.suffix))
        .help("remove the tag")
}

/// The scanner ends every text with a line break of its own, so its end may lie a line below the text.
fn syntax(text: &str, error: &ScanError) -> Finding {
    let at = span_of(Span::empty(*error.marker())).0.min(position_of(text, text.len()));
    Finding::error("yaml_syntax", (at, at), format!("this is no valid YAML or JSON: {}", error.info()))
}
