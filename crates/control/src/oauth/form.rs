//! Parameters, in a query or a body: read strictly, each at most once.

use super::error::Refused;

/// Parameters of one request.
const PARAMETERS_MAX: usize = 64;
/// The only parameter that may stand several times (RFC 8707, section 2).
const REPEATED: &str = "resource";

/// What came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`. A parameter without a value counts as left out (RFC 6749, section 3.1).
    ///
    /// # Errors
    /// It cannot be read, or a parameter stands twice.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refused> {
        let mut found: Vec<(String, String)> = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default()).ok_or_else(unreadable)?;
            let value = decode(halves.next().unwrap_or_default()).ok_or_else(unreadable)?;
            if found.len() == PARAMETERS_MAX {
                return Err(Refused::request("There are too many parameters."));
            }
            if name != REPEATED && found.iter().any(|(known, _)| *known == name) {
                return Err(Refused::request("A parameter stands twice."));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(known, value)| known == name && !value.is_empty())
            .map(|(_, v)| v.clone())
            .collect()
    }
}

fn unreadable() -> Refused {
    Refused::request("The parameters cannot be read as application/x-www-form-urlencoded in UTF-8.")
}

/// One value. An escape that is none is refused: the next reader might take it for something else.
pub(crate) fn decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// One value, for a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_and_what_is_not() {
        for bad in ["a=1&a=2", "a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "client_id=a&client_id=a"] {
            assert!(Form::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let many = vec!["resource=x"; PARAMETERS_MAX + 1].join("&");
        assert!(Form::parse(many.as_bytes()).is_err());
        let form = Form::parse(b"a=x%20y+z&b=&resource=r1&resource=r2&c%3D=%c3%a9&&d").unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("d")), (Some("x y z"), None, None));
        assert_eq!(
            (form.get("c="), form.all("resource")),
            (Some("é"), vec!["r1".to_owned(), "r2".to_owned()])
        );
        assert_eq!(decode(encode("a b&c=é%").as_bytes()).unwrap(), "a b&c=é%");
    }
}
