//! Two clocks, as two types, so that one cannot be taken for the other.
//!
//! [`Mono`] only ever goes forward: every wait, deadline and expiry is counted on it. [`Wall`] is what people and journals know; it
//! may jump, so nothing is decided by it but what must outlive the process. Nothing in the core reads a clock: the driver does, once
//! a turn, and hands a [`Now`] through the door. The simulator hands in whatever it likes.

/// Milliseconds on a clock that never goes back; its zero means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// Milliseconds since 1970-01-01 UTC, as the host believes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For every wait.
    pub mono: Mono,
    /// For what outlives the process.
    pub wall: Wall,
}

impl Mono {
    /// A moment that never comes.
    pub const NEVER: Mono = Mono(u64::MAX);

    /// The moment `ms` later; `NEVER` if there is none.
    #[must_use]
    pub fn plus(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`, or 0.
    #[must_use]
    pub fn since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Now {
    /// The monotonic moment at which the wall clock will show `wall`, if it keeps its pace; now, if that is past.
    #[must_use]
    pub fn mono_at(self, wall: Wall) -> Mono {
        self.mono.plus(wall.0.saturating_sub(self.wall.0))
    }

    /// What the wall clock will show at the moment `mono`, if it keeps its pace.
    #[must_use]
    pub fn wall_at(self, mono: Mono) -> Wall {
        if mono >= self.mono {
            Wall(self.wall.0.saturating_add(mono.since(self.mono)))
        } else {
            Wall(self.wall.0.saturating_sub(self.mono.since(mono)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_clocks_convert_into_each_other_and_saturate() {
        let now = Now { mono: Mono(1_000), wall: Wall(50_000) };
        assert_eq!(now.mono_at(Wall(50_500)), Mono(1_500));
        assert_eq!(now.mono_at(Wall(10)), Mono(1_000));
        assert_eq!(now.wall_at(Mono(1_500)), Wall(50_500));
        assert_eq!(now.wall_at(Mono(500)), Wall(49_500));
        assert_eq!(Mono(u64::MAX - 1).plus(5), Mono::NEVER);
        assert_eq!(Mono(3).since(Mono(9)), 0);
    }
}
