//! WHAT: entries, their limits, their end, and the journal that outlives the process.
//!
//! [`entry`] is a key and its value in one allocation; [`content`] is a value on its way out; [`cache`] finds them, bounds them and says what it evicted; [`expiry`] knows whose
//! time has come; [`record`] is one line of the journal, in bytes; [`journal`] gathers a turn's records for one write; [`replay`] reads them
//! back, around whatever damage there is; [`cleaning`] keeps the journal as small as what lives.
//! Nothing here knows a socket, a peer or a clock.

pub mod cache;
pub mod cleaning;
pub mod content;
pub mod entry;
pub mod expiry;
pub mod journal;
pub mod record;
pub mod replay;

/// The order of writes: the epoch in the upper 32 bits, a sequence number in the lower. It never repeats, so it also serves as memcached's
/// cas unique and as HTTP's ETag. 0 is no version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version before the first of `epoch`.
    #[must_use]
    pub fn start_of(epoch: u32) -> Version {
        Version(u64::from(epoch) << 32)
    }

    /// The next one. A sequence that is used up flows over into the epoch, which stays right as long as epochs come from a clock.
    #[must_use]
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }

    /// The version before the first of the next epoch.
    #[must_use]
    pub fn end_of_epoch(self) -> Version {
        Version(((self.0 >> 32) + 1) << 32)
    }

    /// The epoch this version belongs to.
    #[must_use]
    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
