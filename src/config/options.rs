//! Every option, one a line: where it stands, how it is read, what is allowed.
//!
//! A reader turns what was found into the field's own type, or into `None` if it is not allowed; the words beside it say what is, in
//! the manual's terms. A new option is a field of its section, a default, a line here and a paragraph in `conf/spydercache.toml`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use log::LevelFilter;
use toml::de::{DeInteger, DeValue};

use super::{Config, ConfigError, OnSilence, Sync};
use crate::topology::view::Mirrors;

/// One option.
pub struct Opt {
    /// Its section, without brackets.
    pub section: &'static str,
    /// Its name in that section; also the field's.
    pub key: &'static str,
    /// What it allows, in words.
    pub allowed: &'static str,
    set: fn(&mut Config, Found<'_>) -> Option<()>,
}

macro_rules! options {
    ($($section:ident.$key:ident = $read:expr, $allowed:literal;)+) => {
        /// All options, in the manual's order.
        pub const OPTIONS: &[Opt] = &[$(Opt {
            section: stringify!($section),
            key: stringify!($key),
            allowed: $allowed,
            set: |config, found| {
                config.$section.$key = $read(found)?;
                Some(())
            },
        }),+];
    };
}

options! {
    local.node_id             = identity,                      "a whole number, or a text of 1 to 255 bytes without control characters";
    local.node_address        = address,                       "an IP address to listen on, as \"127.0.0.1\", \"0.0.0.0\" or \"::1\"";
    local.node_port           = |v| number(v, 0, 65_535),      "a whole number from 0 to 65535";
    local.name                = name,                          "a text of at most 255 bytes without spaces and control characters";
    local.weight              = |v| number(v, 1, 1_000),       "a whole number from 1 to 1000";
    local.reconstruct         = yes_or_no,                     "true or false";
    local.cache_size          = |v| size(v, 0, 1 << 40),       "a number of keys from 0 (no limit), as 1_000_000";
    local.max_memory          = |v| size(v, 0, 1 << 50),       "a number of bytes from 0 (no limit), as 1_000_000, \"512MiB\" or \"1GiB\"";
    network.pool              = identity,                      "a whole number, or a text of 1 to 255 bytes without control characters";
    network.peers             = addresses,                     "a list as [\"127.0.0.1:8002\", \"[::1]:8003\"]";
    network.mirrors           = mirrors,                       "a whole number from 0 to 15, or a list as [\"127.0.0.1:8004\"]";
    network.heartbeat_ms      = |v| number(v, 1, 60_000),      "a whole number from 1 to 60000";
    network.silence_ms        = |v| number(v, 2, 600_000),     "a whole number from 2 to 600000";
    network.on_silence        = on_silence,                    "\"wait\" or \"serve\"";
    network.boot_wait_ms      = |v| number(v, 0, 3_600_000),   "a whole number from 0 to 3600000";
    journal.enabled           = yes_or_no,                     "true or false";
    journal.dir               = path,                          "a folder, or \"\" for data/<node_id>";
    journal.sync              = sync,                          "\"no\", \"everysec\" or \"always\"";
    journal.segment_size      = |v| size(v, 4 << 10, 4 << 30), "a number of bytes from \"4KiB\" to \"4GiB\"";
    limits.max_connections    = |v| number(v, 1, 1_000_000),   "a whole number from 1 to 1000000";
    limits.max_key            = |v| size(v, 1, 65_535),        "a number of bytes from 1 to 65535";
    limits.max_value          = |v| size(v, 1, 512 << 20),     "a number of bytes from 1 to \"512MiB\"";
    limits.max_line           = |v| size(v, 512, 16 << 20),    "a number of bytes from 512 to \"16MiB\"";
    limits.max_output         = |v| size(v, 1 << 10, 4 << 30), "a number of bytes from \"1KiB\" to \"4GiB\"";
    limits.max_input          = |v| size(v, 1 << 20, 1 << 40), "a number of bytes from \"1MiB\" to \"1TiB\"";
    limits.max_pipelined      = |v| number(v, 1, 1_000_000),   "a whole number from 1 to 1000000";
    limits.request_timeout_ms = |v| number(v, 1, 600_000),     "a whole number from 1 to 600000";
    limits.idle_timeout_s     = |v| number(v, 0, 31_536_000),  "a whole number from 0 (for ever) to 31536000";
    limits.stall_timeout_s    = |v| number(v, 1, 86_400),      "a whole number from 1 to 86400";
    security.password         = secret,                        "a text of at most 255 bytes; \"\" is none";
    security.pool_secret      = secret,                        "a text of at most 255 bytes; \"\" is none";
    security.hosts            = hosts,                         "a list of names or addresses, as [\"cache.example\"]";
    log.level                 = level,                         "\"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    log.file                  = path,                          "a file, or \"\" for none";
}

/// Longest id, name or secret: they travel in greetings between nodes.
const MAX_TEXT: usize = 255;

/// Most characters of a found value that an error repeats.
const MAX_SHOWN: usize = 60;

impl Opt {
    /// Reads what was found into its field, or says what was found and what is allowed.
    pub fn read(&self, config: &mut Config, found: Found<'_>) -> Result<(), String> {
        (self.set)(config, found).ok_or_else(|| {
            let shown = if self.section == "security" { found.0.type_str().to_owned() } else { shorten(&found.to_string()) };
            format!("found {shown}, allowed: {}", self.allowed)
        })
    }

    /// This option's error, at this line.
    #[must_use]
    pub fn error(&self, line: Option<usize>, problem: String) -> ConfigError {
        ConfigError { line, key: self.path(), problem }
    }

    /// `section.key`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

/// The option of this name, or the nearest one to be named in an error.
pub fn find(section: &str, key: &str) -> Result<&'static Opt, String> {
    let known = OPTIONS.iter().find(|option| option.section == section && option.key == key);
    known.ok_or_else(|| format!("no such option; did you mean {}?", nearest_option(section, key)))
}

/// Is there such a section? If not, the nearest one is named.
pub fn find_section(name: &str) -> Result<(), String> {
    if OPTIONS.iter().any(|option| option.section == name) {
        return Ok(());
    }
    let nearest = OPTIONS.iter().map(|option| option.section).min_by_key(|section| distance(section, name));
    Err(format!("no such section; did you mean [{}]?", nearest.unwrap_or_default()))
}

/// What to say of a key that stands before the first section.
#[must_use]
pub fn outside_of_sections(key: &str) -> String {
    format!("stands outside of any section; did you mean {}?", nearest_option("", key))
}

/// The nearest name counts, or a name with this word in it; between equals, one in the section that was meant.
fn nearest_option(section: &str, key: &str) -> String {
    let letters = |option: &Opt| if option.key.split('_').any(|word| word == key) { 1 } else { distance(option.key, key) };
    let closeness = |option: &&Opt| (letters(option), option.section != section);
    OPTIONS.iter().min_by_key(closeness).map(Opt::path).unwrap_or_default()
}

/// How many letters must be changed, added or left out to make one word the other (Levenshtein's distance, one row at a time).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A value as it was found.
#[derive(Clone, Copy)]
pub struct Found<'a>(pub &'a DeValue<'a>);

impl<'a> Found<'a> {
    fn text(self) -> Option<&'a str> {
        self.0.as_str()
    }

    fn whole(self) -> Option<u64> {
        self.0.as_integer().and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok())
    }
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DeValue::String(text) => write!(f, "{text:?}"),
            DeValue::Integer(integer) => write!(f, "{}", decimal(integer)),
            DeValue::Float(float) => f.write_str(float.as_str()),
            DeValue::Boolean(yes) => write!(f, "{yes}"),
            DeValue::Datetime(date) => write!(f, "{date}"),
            DeValue::Table(_) => f.write_str("a table"),
            DeValue::Array(list) => {
                for (i, item) in list.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "[" } else { ", " }, Found(item.get_ref()))?;
                }
                f.write_str(if list.is_empty() { "[]" } else { "]" })
            }
        }
    }
}

fn decimal(integer: &DeInteger<'_>) -> String {
    i128::from_str_radix(integer.as_str(), integer.radix()).map_or_else(|_| integer.to_string(), |number| number.to_string())
}

fn shorten(shown: &str) -> String {
    match shown.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown.to_owned(),
    }
}

fn yes_or_no(found: Found<'_>) -> Option<bool> {
    found.0.as_bool()
}

fn number<T: TryFrom<u64>>(found: Found<'_>, least: u64, most: u64) -> Option<T> {
    let number = found.whole().filter(|number| (least..=most).contains(number))?;
    T::try_from(number).ok()
}

/// A number, or a text of a number with underscores and a unit.
fn size<T: TryFrom<u64>>(found: Found<'_>, least: u64, most: u64) -> Option<T> {
    let size = found.whole().or_else(|| found.text().and_then(parse_size))?;
    if (least..=most).contains(&size) { T::try_from(size).ok() } else { None }
}

fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1), ("", 1)];
    let (digits, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.trim().strip_suffix(name)?.trim_end(), unit)))?;
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    digits.replace('_', "").parse::<u64>().ok()?.checked_mul(*unit)
}

fn identity(found: Found<'_>) -> Option<String> {
    let text = found.text().map(str::to_owned).or_else(|| found.whole().map(|number| number.to_string()))?;
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_TEXT && !text.contains(char::is_control)).then(|| text.to_owned())
}

fn name(found: Found<'_>) -> Option<String> {
    let text = found.text()?;
    (text.len() <= MAX_TEXT && !text.contains(|c: char| c.is_control() || c.is_whitespace())).then(|| text.to_owned())
}

fn secret(found: Found<'_>) -> Option<String> {
    found.text().filter(|text| text.len() <= MAX_TEXT).map(str::to_owned)
}

/// A list, or one text with commas.
fn hosts(found: Found<'_>) -> Option<Vec<String>> {
    let one = |text: &str| {
        let text = text.trim();
        (!text.is_empty() && text.len() <= MAX_TEXT && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
    };
    match found.0 {
        DeValue::String(text) if text.trim().is_empty() => Some(Vec::new()),
        DeValue::String(text) => text.split(',').map(one).collect(),
        DeValue::Array(list) => list.iter().map(|item| one(item.get_ref().as_str()?)).collect(),
        _ => None,
    }
}

fn path(found: Found<'_>) -> Option<String> {
    found.text().filter(|text| !text.contains('\0')).map(str::to_owned)
}

fn address(found: Found<'_>) -> Option<String> {
    found.text()?.trim().parse::<IpAddr>().ok().map(|address| address.to_string())
}

/// A list, or one text with commas as the original's INI has it.
fn addresses(found: Found<'_>) -> Option<Vec<SocketAddr>> {
    let one = |text: &str| text.trim().parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    match found.0 {
        DeValue::String(text) if text.trim().is_empty() => Some(Vec::new()),
        DeValue::String(text) => text.split(',').map(one).collect(),
        DeValue::Array(list) => list.iter().map(|item| one(item.get_ref().as_str()?)).collect(),
        _ => None,
    }
}

fn mirrors(found: Found<'_>) -> Option<Mirrors> {
    match addresses(found) {
        Some(named) => Some(Mirrors::Named(named)),
        None => number(found, 0, 15).map(Mirrors::Next),
    }
}

fn on_silence(found: Found<'_>) -> Option<OnSilence> {
    match found.text()? {
        "wait" => Some(OnSilence::Wait),
        "serve" => Some(OnSilence::Serve),
        _ => None,
    }
}

fn sync(found: Found<'_>) -> Option<Sync> {
    match found.text()? {
        "no" => Some(Sync::No),
        "everysec" => Some(Sync::Everysec),
        "always" => Some(Sync::Always),
        _ => None,
    }
}

fn level(found: Found<'_>) -> Option<LevelFilter> {
    // Not FromStr: it would take "WARN" and whatever else it may learn, which the manual does not say.
    LevelFilter::iter().find(|level| found.text().is_some_and(|text| level.as_str().to_ascii_lowercase() == text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters_changed_added_and_left_out() {
        for (a, b, letters) in [("", "", 0), ("abc", "abc", 0), ("port", "prot", 2), ("a", "", 1), ("kitten", "sitting", 3)] {
            assert_eq!((distance(a, b), distance(b, a)), (letters, letters), "{a} {b}");
        }
    }

    #[test]
    fn every_option_takes_the_words_it_says_it_allows() {
        for option in OPTIONS {
            let quoted: Vec<&str> = option.allowed.split('"').skip(1).step_by(2).collect();
            let whole_list = option.allowed.contains("a list");
            for word in quoted.iter().filter(|_| !whole_list) {
                let found = DeValue::String((*word).into());
                assert_eq!(option.read(&mut Config::default(), Found(&found)), Ok(()), "{} {word}", option.path());
            }
            let problem = option.read(&mut Config::default(), Found(&DeValue::Table(Default::default()))).unwrap_err();
            assert!(problem.ends_with(option.allowed), "{problem}");
        }
    }

    #[test]
    fn a_long_value_is_shortened_in_its_error() {
        let found = DeValue::String("x".repeat(1_000).into());
        let problem = find("local", "node_port").unwrap().read(&mut Config::default(), Found(&found)).unwrap_err();
        assert!(problem.len() < 200, "{problem}");
    }
}
