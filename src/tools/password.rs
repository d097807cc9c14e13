//! The password that a tool shows to nodes, and where the tool has it from.
//!
//! Never from its command line, which every user of the machine can read. A file that is named there, or else the environment, or else the
//! configuration that names the nodes. It is shown as any client of the text protocol shows it, and only to who refuses to answer without:
//! elsewhere the same words would store it as a value.

use std::fmt;
use std::path::Path;

use crate::disk;

/// The variable of the environment that holds it.
pub const VARIABLE: &str = "SPYDERCACHE_PASSWORD";
/// The option that names its file.
pub const OPTION: &str = "password-file";
/// What the help says of that option.
pub const HELP: &str = "the first line of this file is the password of the nodes; else SPYDERCACHE_PASSWORD is, if it is set";
/// The line of who wants a password.
pub const WANTED: &[u8] = b"CLIENT_ERROR unauthenticated\r\n";
/// The line that a right password is answered with.
pub const ACCEPTED: &[u8] = b"STORED\r\n";

/// A password, which is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// This one; none if it is empty.
    #[must_use]
    pub fn new(text: &str) -> Option<Password> {
        (!text.is_empty()).then(|| Password(text.to_owned()))
    }

    /// What was given to the tool: by the file, if one was named, else by the environment.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn given(file: Option<&str>) -> Result<Option<Password>, String> {
        let Some(file) = file else { return Ok(std::env::var(VARIABLE).ok().and_then(|text| Password::new(&text))) };
        let text = disk::read_text(Path::new(file)).map_err(|error| format!("--{OPTION} {file}: {error}"))?;
        let password = Password::new(text.lines().next().unwrap_or_default());
        password.map(Some).ok_or_else(|| format!("--{OPTION} {file}: its first line is empty"))
    }

    /// The words of the text protocol that show it.
    #[must_use]
    pub fn login(&self) -> Vec<u8> {
        let shown = format!("spydercache {}", self.0);
        format!("set login 0 0 {}\r\n{shown}\r\n", shown.len()).into_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::communication::access::Access;
    use crate::communication::memcached;
    use crate::communication::protocol::{Dialect, Parsed};
    use crate::config::Config;

    #[test]
    fn it_is_shown_so_that_a_node_understands_it_and_is_not_printed() {
        let password = Password::new("two words").expect("it is not empty");
        let mut dialect = Dialect::Memcached(memcached::Parser::default());
        let bytes = password.login();
        match dialect.next(&bytes, &Config::default().limits, Access::Stranger) {
            Parsed::Login { consumed, password, .. } => assert_eq!((consumed, &password[..]), (bytes.len(), &b"two words"[..])),
            other => panic!("{other:?}"),
        }
        assert!(!format!("{password:?}").contains("words"));
        assert_eq!(Password::new(""), None);
    }
}
