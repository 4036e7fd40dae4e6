//! The arguments `VM:REGEX` and `VM:TEXT` of the command line.
//!
//! What a script does with them does not belong here.

use std::fmt;

/// What is wrong with an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgumentError {
    /// The argument as it was given.
    pub argument: String,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "'{}': {}", self.argument, self.reason)
    }
}

impl std::error::Error for ArgumentError {}

impl ArgumentError {
    pub(super) fn new(argument: &str, reason: impl Into<String>) -> Self {
        Self { argument: argument.to_string(), reason: reason.into() }
    }
}

/// Cuts `VM:REST` at the first colon.
pub(super) fn split(argument: &str) -> Result<(&str, &str), ArgumentError> {
    match argument.split_once(':') {
        Some((vm, rest)) if !vm.is_empty() => Ok((vm, rest)),
        _ => Err(ArgumentError::new(argument, "expected VM:TEXT, the guest's name before a colon")),
    }
}

/// The bytes that a text with the escapes `\n \r \t \\ \e \xHH` stands for.
pub(super) fn unescape(argument: &str, text: &str) -> Result<Vec<u8>, ArgumentError> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(letter) = rest.next() {
        if letter != '\\' {
            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('e') => 0x1b,
            Some('\\') => b'\\',
            Some('x') => hexadecimal(argument, rest.next(), rest.next())?,
            Some(other) => {
                return Err(ArgumentError::new(
                    argument,
                    format!("unknown escape '\\{other}'; known: \\n \\r \\t \\e \\\\ \\xHH"),
                ));
            }
            None => {
                return Err(ArgumentError::new(argument, "ends with a single '\\'; write '\\\\'"));
            }
        });
    }
    Ok(bytes)
}

/// A regular expression with `\e`, which the regex crate does not know, written as it knows it.
pub(super) fn with_escape_key(pattern: &str) -> String {
    let mut result = String::new();
    let mut rest = pattern.chars();
    while let Some(letter) = rest.next() {
        match (letter, rest.clone().next()) {
            ('\\', Some(next)) => {
                rest.next();
                match next {
                    'e' => result.push_str("\\x1b"),
                    _ => result.extend(['\\', next]),
                }
            }
            _ => result.push(letter),
        }
    }
    result
}

fn hexadecimal(argument: &str, high: Option<char>, low: Option<char>) -> Result<u8, ArgumentError> {
    let digit = |letter: Option<char>| letter.and_then(|letter| letter.to_digit(16));
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
        _ => Err(ArgumentError::new(argument, "expected two hexadecimal digits after '\\x'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_colon() {
        assert_eq!(split("linux:a:b"), Ok(("linux", "a:b")));
        assert_eq!(split("linux:"), Ok(("linux", "")));
        assert!(split("linux").is_err() && split(":x").is_err());
    }

    #[test]
    fn knows_the_escapes() {
        assert_eq!(unescape("", r"a\n\r\t\\\e\x1dä"), Ok(b"a\n\r\t\\\x1b\x1d\xc3\xa4".to_vec()));
        for wrong in [r"\", r"\q", r"\x1", r"\xzz", r"\x"] {
            let error = unescape(wrong, wrong).expect_err(wrong);
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn leaves_other_escapes_of_a_regex_alone() {
        assert_eq!(with_escape_key(r"\e[\\e\d+\"), r"\x1b[\\e\d+\");
    }
}
