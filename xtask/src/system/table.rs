//! Typed access to a TOML table: each unknown key, missing key and wrong type is a problem at its place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{At, Problem, Result, one_of};

/// A table of the file.
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    pub(super) span: Range<usize>,
    /// What it describes, as messages name it: `[[vm]]`.
    what: &'static str,
}

/// A value of the file.
pub(super) type Value<'a> = &'a Spanned<DeValue<'a>>;

impl<'a> Table<'a> {
    /// `table`, whose only keys are `known`.
    pub(super) fn new(
        entries: &'a DeTable<'a>,
        span: Range<usize>,
        what: &'static str,
        known: &[&str],
    ) -> Result<Self> {
        match entries.keys().find(|key| !known.contains(&&**key.get_ref())) {
            Some(key) => {
                let name = key.get_ref();
                let problem = Problem::new(key.span(), format!("{what} has no key `{name}`"));
                Err(problem.help(one_of(name, known.iter().copied())))
            }
            None => Ok(Self { entries, span, what }),
        }
    }

    /// `value` as a table whose only keys are `known`.
    pub(super) fn from(value: Value<'a>, what: &'static str, known: &[&str]) -> Result<Self> {
        let entries = value.get_ref().as_table().ok_or_else(|| wrong(value, what, "a table"))?;
        Self::new(entries, value.span(), what, known)
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.entries.get(key)
    }

    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| {
            Problem::new(self.head(), format!("{} lacks the key `{key}`", self.what)).help(format!("add `{key} = ...`"))
        })
    }

    /// The table's first character: the whole would mark many lines.
    pub(super) fn head(&self) -> Range<usize> {
        self.span.start..self.span.end.min(self.span.start + 1)
    }

    fn map<T>(&self, key: &str, read: impl FnOnce(Value<'a>) -> Result<T>) -> Result<Option<T>> {
        self.get(key).map(read).transpose()
    }

    pub(super) fn string(&self, key: &str) -> Result<Option<At<String>>> {
        self.map(key, |value| string(value, key))
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<At<bool>>> {
        self.map(key, |value| {
            let boolean = value.get_ref().as_bool();
            let boolean = boolean.ok_or_else(|| wrong(value, key, "true or false"))?;
            Ok(At::new(boolean, value.span()))
        })
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<At<u64>>> {
        self.map(key, |value| integer(value, key))
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<At<u64>>> {
        self.map(key, |value| size(value, key))
    }

    pub(super) fn time(&self, key: &str) -> Result<Option<At<u64>>> {
        self.map(key, |value| time(value, key))
    }

    /// An array, or nothing.
    pub(super) fn array(&self, key: &str) -> Result<Vec<Value<'a>>> {
        self.map(key, |value| array(value, key)).map(Option::unwrap_or_default)
    }

    /// The entries, for tables whose keys are free.
    pub(super) fn free_entries(value: Value<'a>, what: &str) -> Result<&'a DeTable<'a>> {
        value.get_ref().as_table().ok_or_else(|| wrong(value, what, "a table"))
    }
}

/// The problem that `value` is not what `expected` says.
pub(super) fn wrong(value: Value<'_>, key: &str, expected: &str) -> Problem {
    let found = value.get_ref().type_str();
    let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
    Problem::new(value.span(), format!("`{key}` must be {expected}, this is {article} {found}"))
}

pub(super) fn string(value: Value<'_>, key: &str) -> Result<At<String>> {
    let text = value.get_ref().as_str().ok_or_else(|| wrong(value, key, "a string"))?;
    if text.contains('\0') {
        return Err(Problem::new(value.span(), format!("`{key}` must not contain a NUL")));
    }
    Ok(At::new(text.to_string(), value.span()))
}

/// A non-negative integer.
pub(super) fn integer(value: Value<'_>, key: &str) -> Result<At<u64>> {
    let number = value.get_ref().as_integer().ok_or_else(|| wrong(value, key, "an integer"))?;
    let digits: String = number.as_str().chars().filter(|digit| *digit != '_').collect();
    let parsed = u64::from_str_radix(&digits, number.radix());
    let parsed = parsed
        .map_err(|_| Problem::new(value.span(), format!("`{key}` must be 0 or more, and have at most 64 bits")))?;
    Ok(At::new(parsed, value.span()))
}

/// A size in bytes: an integer, or a string with the unit K, M or G.
pub(super) fn size(value: Value<'_>, key: &str) -> Result<At<u64>> {
    if value.get_ref().is_integer() {
        return integer(value, key);
    }
    let expected = "a size such as \"256M\"";
    let text = value.get_ref().as_str().ok_or_else(|| wrong(value, key, expected))?;
    let bytes = parse_size(text).ok_or_else(|| {
        Problem::new(value.span(), format!("`{text}` is no size"))
            .help("write a number of bytes, or a number with the unit K, M or G: \"256M\"")
    })?;
    Ok(At::new(bytes, value.span()))
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return None,
    };
    if digits.starts_with('+') {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A time in nanoseconds: a string with the unit us, ms or s.
fn time(value: Value<'_>, key: &str) -> Result<At<u64>> {
    let text = value.get_ref().as_str().ok_or_else(|| wrong(value, key, "a time such as \"5ms\""))?;
    let time = parse_time(text).ok_or_else(|| {
        let problem = Problem::new(value.span(), format!("`{text}` is no time"));
        problem.help("write a number with the unit us, ms or s: \"5ms\"")
    })?;
    Ok(At::new(time, value.span()))
}

fn parse_time(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let nanoseconds = match text.get(digits.len()..)? {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    if digits.starts_with('+') {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(nanoseconds)
}

pub(super) fn array<'a>(value: Value<'a>, key: &str) -> Result<Vec<Value<'a>>> {
    let array = value.get_ref().as_array().ok_or_else(|| wrong(value, key, "an array"))?;
    Ok(array.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::{parse_size, parse_time};

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("64K"), Some(64 << 10));
        assert_eq!(parse_size("256M"), Some(256 << 20));
        assert_eq!(parse_size("2GiB"), Some(2 << 30));
        for bad in ["", "M", "1T", "1.5G", "-1M", "+1M", "1 M", "256MB", "18014398509481984K"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_have_decimal_units() {
        assert_eq!(parse_time("20us"), Some(20_000));
        assert_eq!(parse_time("5ms"), Some(5_000_000));
        assert_eq!(parse_time("0s"), Some(0));
        for bad in ["", "5", "ms", "5 ms", "+5ms", "-5ms", "1.5ms", "5m", "5MS", "18446744074s"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
