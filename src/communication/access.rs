//! Who may ask: the gate between what the dialects understand and what the node carries out.
//!
//! Every connection holds a [`Pass`]. A request is shown to it before it goes on, and a stranger's goes no further:
//!
//! ```text
//!   Parsed::Request ──▶ Pass::check ──┬─▶ node
//!                                     └─▶ Failure::Unauthenticated, Forbidden ──▶ composed like any reply
//!   Parsed::Login ────▶ Gate::log_in ───▶ Done, or Failure::WrongPassword     ──▶ composed like any reply
//! ```
//!
//! Both are done while a connection's bytes are parsed, piece by piece in the order in which they came, so that a login counts for what was
//! sent behind it in the same packet. What a dialect answers by itself never reaches the gate: so the parser is told by the [`Access`] of
//! its client whether that is a stranger, and withholds by itself all that a login does not need.
//!
//! Orders to node and pool are taken from this host, or from who has shown the password; without a password nobody else can give them.
//!
//! Comparing takes the same time whatever was sent: a keyed digest is made of what was offered, and its bytes are compared to the end. So
//! neither a common beginning nor the length of the password shows. Here are no users, no rights that differ, and no encryption.

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::protocol::Form;
use crate::node::command::{Admin, Request, ScanFor};
use crate::node::reply::Failure;

/// Wrong passwords that are answered on one connection. The next login closes it: who guesses pays with a connection for every few tries.
const MAX_WRONG: u8 = 3;

/// What a connection's client may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nothing but to log in: there is a password, and it has not been shown.
    #[default]
    Stranger,
    /// Everything but what only this host may order: there is no password.
    Open,
    /// Everything: the password was shown.
    Granted,
}

/// The node's own side of the gate: it knows a right password when it is shown one.
pub struct Gate {
    /// The digest of the password, of a type that can only be compared in constant time.
    digest: Option<CtOutput<Hmac<Sha256>>>,
}

/// A connection's side of the gate. The default is a stranger's from afar, who may do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    access: Access,
    is_local: bool,
    wrong: u8,
}

impl Gate {
    /// A gate that opens to this password; to everybody, if it is empty.
    #[must_use]
    pub fn new(password: &str) -> Gate {
        Gate { digest: (!password.is_empty()).then(|| digest_of(password.as_bytes())) }
    }

    /// The pass of a new connection; `is_local` if it comes from this host.
    #[must_use]
    pub fn admit(&self, is_local: bool) -> Pass {
        let access = if self.digest.is_some() { Access::Stranger } else { Access::Open };
        Pass { access, is_local, wrong: 0 }
    }

    /// A connection shows a password. Whoever shows a wrong one is a stranger from then on, whatever was shown before. An empty one is the
    /// same as none: it makes a stranger, and is no attempt to guess.
    pub fn log_in(&self, pass: &mut Pass, password: &[u8]) -> Result<(), Failure> {
        let Some(digest) = &self.digest else { return Err(Failure::NoPassword) };
        if digest_of(password) == *digest {
            pass.access = Access::Granted;
            return Ok(());
        }
        pass.access = Access::Stranger;
        pass.wrong = pass.wrong.saturating_add(u8::from(!password.is_empty()));
        Err(Failure::WrongPassword)
    }
}

impl Pass {
    /// What the client may do.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Has it tried so often that it is to be closed instead of heard once more?
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.wrong >= MAX_WRONG
    }

    /// May this be asked, and answered in this form?
    pub fn check(&self, request: &Request<'_>, form: &Form) -> Result<(), Failure> {
        match (self.access, request) {
            (Access::Stranger, _) if !form.tells_no_secret() => Err(Failure::Unauthenticated),
            (Access::Open, Request::Admin(admin)) if !self.is_local && is_order(admin) => Err(Failure::Forbidden),
            _ => Ok(()),
        }
    }
}

/// Does it change more than one key, or the pool?
fn is_order(admin: &Admin<'_>) -> bool {
    match admin {
        Admin::Flush { .. } | Admin::Connect(_) | Admin::Dead(_) | Admin::Reconstruct => true,
        Admin::Walk(walk) => walk.what == ScanFor::Removal,
        Admin::ResetStats
        | Admin::Alive
        | Admin::Owner(_)
        | Admin::Why(_)
        | Admin::Ring
        | Admin::Peers
        | Admin::Stats
        | Admin::Settings
        | Admin::Status => false,
    }
}

/// The password is hashed and not the key: as keys, texts that differ in trailing zeros would be the same.
fn digest_of(password: &[u8]) -> CtOutput<Hmac<Sha256>> {
    let keyed = Hmac::<Sha256>::new_from_slice(b"spydercache password").expect("a key may have any length");
    keyed.chain_update(password).finalize()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::communication::memcached;
    use crate::communication::protocol::{Dialect, Parsed};
    use crate::config::Config;
    use crate::node::command::{Action, Command, Expiry, Walk};

    fn get() -> Request<'static> {
        Request::Key(Command { key: Cow::Borrowed(b"k"), action: Action::Get })
    }

    fn form() -> Form {
        let mut dialect = Dialect::Memcached(memcached::Parser::default());
        match dialect.next(b"get k\r\n", &Config::default().limits, Access::Open) {
            Parsed::Request { form, .. } => form,
            other => panic!("{other:?}"),
        }
    }

    fn walk(what: ScanFor) -> Request<'static> {
        Request::Admin(Admin::Walk(Walk {
            from: 0,
            most: 1,
            prefix: Cow::Borrowed(b""),
            pattern: Cow::Borrowed(b""),
            what,
            all_round: false,
        }))
    }

    #[test]
    fn a_stranger_is_refused_everything_until_the_right_password_was_shown() {
        let gate = Gate::new("secret");
        for is_local in [false, true] {
            let mut pass = gate.admit(is_local);
            assert_eq!(pass.check(&get(), &form()), Err(Failure::Unauthenticated));
            for wrong in [&b"Secret"[..], b"secre", b"secret\0"] {
                assert_eq!(gate.log_in(&mut pass, wrong), Err(Failure::WrongPassword));
                assert_eq!(pass.check(&get(), &form()), Err(Failure::Unauthenticated));
            }
            assert_eq!(gate.log_in(&mut pass, b"secret"), Ok(()));
            assert_eq!(pass.check(&get(), &form()), Ok(()));
            assert_eq!(pass.check(&Request::Admin(Admin::Reconstruct), &form()), Ok(()), "who has logged in may give orders");
        }
    }

    #[test]
    fn a_wrong_password_takes_back_what_a_right_one_gave() {
        let gate = Gate::new("secret");
        let mut pass = gate.admit(true);
        for last in [&b"other"[..], b""] {
            assert_eq!(gate.log_in(&mut pass, b"secret"), Ok(()));
            assert_eq!(gate.log_in(&mut pass, last), Err(Failure::WrongPassword));
            assert_eq!(pass.access(), Access::Stranger);
        }
    }

    #[test]
    fn who_guesses_is_closed_and_who_shows_nothing_is_not() {
        let gate = Gate::new("secret");
        let mut pass = gate.admit(false);
        for _ in 0..1_000 {
            assert_eq!(gate.log_in(&mut pass, b""), Err(Failure::WrongPassword));
        }
        for _ in 0..MAX_WRONG {
            assert!(!pass.is_spent());
            assert_eq!(gate.log_in(&mut pass, b"guess"), Err(Failure::WrongPassword));
        }
        assert!(pass.is_spent());
    }

    #[test]
    fn without_a_password_all_may_ask_and_only_this_host_may_order() {
        let gate = Gate::new("");
        let (mut near, far) = (gate.admit(true), gate.admit(false));
        assert_eq!(gate.log_in(&mut near, b"any"), Err(Failure::NoPassword));
        for order in [
            Request::Admin(Admin::Flush { when: Expiry::InMs(0) }),
            Request::Admin(Admin::Connect("127.0.0.1:1".into())),
            Request::Admin(Admin::Dead("127.0.0.1:1".into())),
            Request::Admin(Admin::Reconstruct),
            walk(ScanFor::Removal),
        ] {
            assert_eq!(near.check(&order, &form()), Ok(()), "{order:?}");
            assert_eq!(far.check(&order, &form()), Err(Failure::Forbidden), "{order:?}");
        }
        for question in [get(), walk(ScanFor::Keys), walk(ScanFor::Count), Request::Admin(Admin::Stats)] {
            assert_eq!((near.check(&question, &form()), far.check(&question, &form())), (Ok(()), Ok(())), "{question:?}");
        }
    }

    #[test]
    fn a_pass_that_nobody_gave_admits_to_nothing() {
        assert_eq!(Pass::default().check(&get(), &form()), Err(Failure::Unauthenticated));
    }
}
