//! How replies are written in the text protocol.
//!
//! Most replies say by themselves how they are written; the [`Form`] adds what only the command knew: whether the version is shown, whether
//! an `END` belongs to it, whether it is to be written at all. The texts are those of memcached 1.6, which clients compare.

use super::meta::MetaForm;
use crate::communication::admin;
use crate::communication::protocol::{Composed, Group};
use crate::node::reply::{Failure, Reply, Value};

pub(super) const END: &[u8] = b"END\r\n";
pub(super) const OK: &[u8] = b"OK\r\n";
const STORED: &[u8] = b"STORED\r\n";
pub(super) const RESET: &[u8] = b"RESET\r\n";
pub(super) const ERROR: &[u8] = b"ERROR\r\n";
pub(super) const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
pub(super) const BAD_CHUNK: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
pub(super) const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
pub(super) const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";
pub(super) const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated\r\n";
pub(super) const LINE_TOO_LONG: &[u8] = b"CLIENT_ERROR line too long\r\n";
pub(super) const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
pub(super) const UNFITTING: &[u8] = b"SERVER_ERROR the answer does not fit the command\r\n";

/// Room for what surrounds a value: `VALUE`, three numbers, blanks, line ends, `END`.
const VALUE_FRAME: usize = 72;

/// How the reply to a command is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    kind: Kind,
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A read: a value, and the `END` if it stands alone.
    Read { with_version: bool, group: Group },
    /// A change of one key: one line.
    Change,
    /// The removal of a key whose new value was refused: whatever comes of it, the refusal is what the client has to know.
    Refusal,
    /// A login that looks like a `set`.
    Login,
    /// A question about node or pool, or an order to it.
    Admin,
    /// `stats reset`.
    Reset,
    /// A meta command: its flags say the rest.
    Meta(MetaForm),
}

impl Form {
    pub(super) const ADMIN: Form = Form { kind: Kind::Admin, quiet: false };
    pub(super) const RESET: Form = Form { kind: Kind::Reset, quiet: false };

    pub(super) const LOGIN: Form = Form { kind: Kind::Login, quiet: false };

    pub(super) fn read(with_version: bool, group: Group) -> Form {
        Form { kind: Kind::Read { with_version, group }, quiet: false }
    }

    pub(super) fn change(quiet: bool) -> Form {
        Form { kind: Kind::Change, quiet }
    }

    pub(super) fn refusal(quiet: bool) -> Form {
        Form { kind: Kind::Refusal, quiet }
    }

    pub(super) fn meta(form: MetaForm) -> Form {
        Form { kind: Kind::Meta(form), quiet: false }
    }

    /// The same, but written only if the client wants it.
    pub(super) fn quiet_if(self, quiet: bool) -> Form {
        Form { quiet, ..self }
    }

    /// The place in its group of a reply in this form.
    #[must_use]
    pub fn group(&self) -> Group {
        match self.kind {
            Kind::Read { group, .. } => group,
            Kind::Change | Kind::Refusal | Kind::Login | Kind::Admin | Kind::Reset | Kind::Meta(_) => Group::Alone,
        }
    }

    /// Writes `reply`, about `key`, behind `output`. With `noreply` nothing is written, errors neither, as in memcached.
    pub fn compose(&self, key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) -> Composed {
        if let Kind::Meta(form) = &self.kind {
            return form.compose(key, reply, output);
        }
        let failed = matches!(reply, Reply::Failed(_)) || self.kind == Kind::Refusal;
        if !self.quiet {
            match (self.kind, reply) {
                (Kind::Refusal, _) => output.extend_from_slice(TOO_LARGE),
                (_, Reply::Failed(failure)) => push_failure(failure, output),
                (Kind::Read { with_version, group }, _) => push_read(with_version, group, key, reply, output),
                (Kind::Change, Reply::Number { number, .. }) => push_line(number.digits().as_bytes(), output),
                (Kind::Admin, Reply::Report(report)) => admin::compose(report, output),
                (Kind::Admin, Reply::Page(page)) => admin::compose_keys(page, output),
                (Kind::Admin, Reply::Done) => output.extend_from_slice(OK),
                (Kind::Reset, Reply::Done) => output.extend_from_slice(RESET),
                (Kind::Login, Reply::Done) => output.extend_from_slice(STORED),
                (Kind::Change, _) => output.extend_from_slice(word_for(reply)),
                (Kind::Login | Kind::Admin | Kind::Reset | Kind::Meta(_), _) => output.extend_from_slice(UNFITTING),
            }
        }
        Composed { failed, close: false }
    }
}

fn push_read(with_version: bool, group: Group, key: &[u8], reply: &Reply<'_>, output: &mut Vec<u8>) {
    match reply {
        Reply::Value(value) => push_value(key, value, with_version, output),
        Reply::Miss => {}
        _ => return output.extend_from_slice(UNFITTING),
    }
    if group != Group::Member {
        output.extend_from_slice(END);
    }
}

fn push_value(key: &[u8], value: &Value<'_>, with_version: bool, output: &mut Vec<u8>) {
    output.reserve(VALUE_FRAME + key.len() + value.bytes.len());
    output.extend_from_slice(b"VALUE ");
    output.extend_from_slice(key);
    output.push(b' ');
    push_number(u64::from(value.flags), output);
    output.push(b' ');
    push_number(value.bytes.len() as u64, output);
    if with_version {
        output.push(b' ');
        push_number(value.version.0, output);
    }
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(value.bytes);
    output.extend_from_slice(b"\r\n");
}

/// The line for what became of a change.
fn word_for(reply: &Reply<'_>) -> &'static [u8] {
    match reply {
        Reply::Stored { .. } => STORED,
        Reply::NotStored => b"NOT_STORED\r\n",
        Reply::Exists => b"EXISTS\r\n",
        Reply::Miss => b"NOT_FOUND\r\n",
        Reply::Deleted { .. } => b"DELETED\r\n",
        Reply::Touched => b"TOUCHED\r\n",
        Reply::Done => OK,
        Reply::Value(_) | Reply::Number { .. } | Reply::Page(_) | Reply::Report(_) | Reply::Failed(_) => UNFITTING,
    }
}

pub(super) fn push_failure(failure: &Failure, output: &mut Vec<u8>) {
    let class: &[u8] = if failure.is_the_clients() { b"CLIENT_ERROR " } else { b"SERVER_ERROR " };
    output.extend_from_slice(class);
    push_text(failure.text(), output);
    output.extend_from_slice(b"\r\n");
}

/// A text that must not end the line it stands in: whatever would is shown as a blank.
pub(crate) fn push_text(text: &str, output: &mut Vec<u8>) {
    output.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
}

fn push_line(text: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(text);
    output.extend_from_slice(b"\r\n");
}

pub(super) fn push_number(number: u64, output: &mut Vec<u8>) {
    output.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caching::Version;
    use crate::node::command::Number;
    use crate::node::reply::{Details, Report};

    const VERSION: Version = Version(77);

    fn written(form: Form, reply: &Reply<'_>) -> (String, Composed) {
        let mut output = b"|".to_vec();
        let composed = form.compose(b"key", reply, &mut output);
        (String::from_utf8(output).unwrap(), composed)
    }

    fn value(bytes: &[u8]) -> Reply<'_> {
        Reply::Value(Value { bytes, flags: 9, version: VERSION, ttl_ms: None, details: Details::default() })
    }

    #[test]
    fn a_read_shows_its_version_and_its_end_only_where_they_belong() {
        for (form, reply, text) in [
            (Form::read(false, Group::Alone), value(b"v"), "|VALUE key 9 1\r\nv\r\nEND\r\n"),
            (Form::read(true, Group::Alone), value(b"v"), "|VALUE key 9 1 77\r\nv\r\nEND\r\n"),
            (Form::read(false, Group::Member), value(b""), "|VALUE key 9 0\r\n\r\n"),
            (Form::read(false, Group::Alone), Reply::Miss, "|END\r\n"),
            (Form::read(true, Group::Member), Reply::Miss, "|"),
        ] {
            assert_eq!(written(form, &reply), (text.to_string(), Composed { failed: false, close: false }));
        }
    }

    #[test]
    fn each_change_has_its_word() {
        for (reply, text) in [
            (Reply::Stored { version: VERSION, old: None }, "|STORED\r\n"),
            (Reply::NotStored, "|NOT_STORED\r\n"),
            (Reply::Exists, "|EXISTS\r\n"),
            (Reply::Miss, "|NOT_FOUND\r\n"),
            (Reply::Deleted { old: None }, "|DELETED\r\n"),
            (Reply::Number { number: Number::Natural(u64::MAX), version: VERSION, ttl_ms: None }, "|18446744073709551615\r\n"),
            (Reply::Touched, "|TOUCHED\r\n"),
        ] {
            assert_eq!(written(Form::change(false), &reply).0, text);
            assert_eq!(written(Form::change(true), &reply).0, "|");
        }
    }

    #[test]
    fn a_failure_is_one_line_and_fails_its_group() {
        for (failure, text) in [
            (Failure::NotANumber, "|CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"),
            (Failure::TooLarge, "|SERVER_ERROR object too large for cache\r\n"),
            (Failure::OutOfMemory, "|SERVER_ERROR out of memory storing object\r\n"),
            (Failure::Refused("no\r\nquit".into()), "|SERVER_ERROR no  quit\r\n"),
        ] {
            for form in [Form::change(false), Form::read(false, Group::Member), Form::ADMIN, Form::RESET] {
                let (line, composed) = written(form, &Reply::Failed(&failure));
                assert_eq!((line.as_str(), composed.failed, composed.close), (text, true, false));
            }
        }
    }

    #[test]
    fn a_refusal_is_told_whatever_became_of_the_old_value() {
        for reply in [Reply::Deleted { old: None }, Reply::Miss, Reply::Failed(&Failure::Unreachable)] {
            assert_eq!(written(Form::refusal(false), &reply).0, "|SERVER_ERROR object too large for cache\r\n");
            assert_eq!(written(Form::refusal(true), &reply).0, "|");
        }
    }

    #[test]
    fn orders_to_the_node_are_confirmed() {
        assert_eq!(written(Form::ADMIN, &Reply::Done).0, "|OK\r\n");
        assert_eq!(written(Form::RESET, &Reply::Done).0, "|RESET\r\n");
        assert_eq!(written(Form::ADMIN.quiet_if(true), &Reply::Done).0, "|");
    }

    #[test]
    fn a_reply_that_does_not_fit_is_an_error_and_no_panic() {
        let report = Report::Stats(Vec::new());
        for form in [Form::read(false, Group::Alone), Form::change(false), Form::RESET] {
            assert!(written(form, &Reply::Report(&report)).0.starts_with("|SERVER_ERROR "));
        }
        assert!(written(Form::ADMIN, &Reply::Exists).0.starts_with("|SERVER_ERROR "));
        assert!(written(Form::change(false), &value(b"v")).0.starts_with("|SERVER_ERROR "));
    }
}
