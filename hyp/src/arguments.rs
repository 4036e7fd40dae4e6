//! What the boot arguments ask of EL2: the words that begin with `tessera.`. All others are somebody else's.

use core::str::SplitAsciiWhitespace;

/// The words there are, for messages.
pub const KNOWN: &str = "tessera.verdict=TOKEN, tessera.on-fault=reset, tessera.colour=on, tessera.harden=exits, \
                         tessera.selftest=NAME";

/// What EL2's words begin with.
const PREFIX: &str = "tessera.";

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments<'a> {
    /// What the last line is to carry, beside how it went: whoever starts the machine tells it from a guest's by that.
    pub verdict: Option<&'a str>,
    /// A start anew after a fault of EL2's own.
    pub reset_on_fault: bool,
    /// Coloured tags.
    pub colour: bool,
    /// A call of firmware at each exit of a guest: see `hardening`.
    pub hardens_exits: bool,
    /// A fault of EL2's own, made on purpose: its name, and where.
    pub selftest: Option<&'a str>,
}

impl<'a> Arguments<'a> {
    /// Those in `text`, where spaces are between words.
    pub fn read(text: Option<&'a str>) -> Self {
        let mut arguments = Self::default();
        for word in own_words(text) {
            arguments.take(word);
        }
        arguments
    }

    /// False if there is no such word.
    fn take(&mut self, word: &'a str) -> bool {
        match word {
            "on-fault=reset" => self.reset_on_fault = true,
            "colour=on" => self.colour = true,
            "harden=exits" => self.hardens_exits = true,
            _ => match word.split_once('=') {
                Some(("selftest", name)) => self.selftest = Some(name),
                Some(("verdict", token)) => self.verdict = Some(token),
                _ => return false,
            },
        }
        true
    }
}

/// The words in `text` that are meant for EL2, without `tessera.`, but say nothing to it.
pub fn unknown(text: Option<&str>) -> impl Iterator<Item = &str> {
    own_words(text).filter(|word| !Arguments::default().take(word))
}

fn own_words(text: Option<&str>) -> OwnWords<'_> {
    OwnWords(text.unwrap_or("").split_ascii_whitespace())
}

/// The words for EL2, without [`PREFIX`].
struct OwnWords<'a>(SplitAsciiWhitespace<'a>);

impl<'a> Iterator for OwnWords<'a> {
    type Item = &'a str;

    // Once in the image.
    #[inline(never)]
    fn next(&mut self) -> Option<&'a str> {
        self.0.find_map(|word| word.strip_prefix(PREFIX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_asks_for_one_thing() {
        let read = |text| Arguments::read(Some(text));
        let none = Arguments::default();
        assert_eq!(read("tessera.verdict=3f2a"), Arguments { verdict: Some("3f2a"), ..none });
        assert_eq!(read("tessera.on-fault=reset"), Arguments { reset_on_fault: true, ..none });
        assert_eq!(read("tessera.colour=on"), Arguments { colour: true, ..none });
        assert_eq!(read("tessera.harden=exits"), Arguments { hardens_exits: true, ..none });
        assert_eq!(read("tessera.selftest=panic@1"), Arguments { selftest: Some("panic@1"), ..none });
        assert_eq!(Arguments::read(None), none);
        let all = "tessera.verdict= tessera.on-fault=reset\ttessera.colour=on  tessera.harden=exits tessera.selftest=";
        let (flag, empty) = (true, Some(""));
        let expected =
            Arguments { verdict: empty, reset_on_fault: flag, colour: flag, hardens_exits: flag, selftest: empty };
        assert_eq!(read(all), expected);
        assert_eq!(unknown(Some(all)).count(), 0);
    }

    #[test]
    fn the_words_for_messages_are_those_that_are_read() {
        let words = KNOWN.replace(',', "");
        assert_eq!(unknown(Some(&words)).count(), 0);
        let Arguments { verdict, reset_on_fault, colour, hardens_exits, selftest } = Arguments::read(Some(&words));
        assert!(verdict == Some("TOKEN") && reset_on_fault && colour && hardens_exits && selftest == Some("NAME"));
    }

    #[test]
    fn only_words_meant_for_el2_are_unknown() {
        let text = "quiet tessera.color=on root=/dev/vda tessera.harden=all tessera. mytessera.colour=on tessera \
                    tessera.selftest tessera.colour=on,off TESSERA.colour=on";
        let found: Vec<_> = unknown(Some(text)).collect();
        assert_eq!(found, ["color=on", "harden=all", "", "selftest", "colour=on,off"]);
        assert_eq!(Arguments::read(Some(text)), Arguments::default());
        assert_eq!(unknown(None).count(), 0);
    }
}
