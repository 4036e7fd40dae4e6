//! Which operating system this is, as far as set-up cares: whether it has apt, and its release's name.

use std::collections::HashMap;
use std::fs;

use crate::process;

/// The distribution, from `os-release`(5).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct System {
    /// `debian`, `ubuntu`, ...
    pub id: String,
    /// What else it is like, e.g. `ubuntu debian`.
    pub id_like: String,
    /// The release's code name, e.g. `bookworm`.
    pub codename: String,
}

impl System {
    /// Reads the running system's `os-release`.
    pub fn read() -> Self {
        let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let unquote = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let fields: HashMap<_, _> = pairs.map(|(key, value)| (key.trim(), unquote(value))).collect();
        let field = |key: &str| fields.get(key).cloned().unwrap_or_default();
        Self { id: field("ID"), id_like: field("ID_LIKE"), codename: field("VERSION_CODENAME") }
    }

    /// Debian itself.
    pub fn is_debian(&self) -> bool {
        self.id == "debian"
    }

    /// Debian or one of its children, with apt at hand.
    pub fn has_apt(&self) -> bool {
        let family = self.is_debian() || self.id_like.split(' ').any(|like| like == "debian");
        family && process::missing(&["apt-get", "apt-cache", "dpkg-deb"]).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        let system = System::parse("NAME=\"X\"\nID=ubuntu\nID_LIKE='debian'\nVERSION_CODENAME=\"noble\"\n");
        assert_eq!(system, System { id: "ubuntu".into(), id_like: "debian".into(), codename: "noble".into() });
        assert!(!system.is_debian());
    }

    #[test]
    fn an_unknown_system_has_no_apt() {
        assert!(!System::parse("ID=fedora\nVERSION_CODENAME=\n").has_apt());
        assert!(!System::parse("").has_apt());
    }
}
