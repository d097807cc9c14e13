//! The weather: what goes wrong, when, and how it passes.
//!
//! A storm strikes at random moments with one of the faults that the seed has switched on; most of them end by themselves after a while,
//! and all of them when the storm is over.

use std::borrow::Cow;
use std::collections::BTreeMap;

use spydercache::node::command::{Admin, Expiry, Request};
use spydercache::prng::Prng;

use crate::disk::Disk;
use crate::finding::Check;
use crate::host::{Process, address_of};
use crate::options::{Fault, MS, Options, Sync, pick};
use crate::world::World;

/// How long the weather holds while a pool that was down as a whole comes back.
const LULL_US: u64 = 4_000 * MS;

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
pub enum Relief {
    PowerOn(usize),
    Resume(usize),
    Hurry(usize),
    Heal,
    DiskWell(usize),
    /// Rather the fault itself: the process ends now.
    Kill(usize),
    /// So is this: the process is asked to end in order.
    Leave(usize),
    /// The same as killing, and the next one begins no earlier than that.
    End(usize, u64),
}

/// When what comes, and what passes.
pub struct Storm {
    pub strike_at: u64,
    pub reliefs: BTreeMap<(u64, u64), Relief>,
    /// How often each fault has struck.
    pub struck: BTreeMap<Fault, u64>,
    every_us: u64,
    begun: u64,
    pub prng: Prng,
}

impl Storm {
    pub fn new(options: &Options) -> Storm {
        Storm {
            strike_at: u64::MAX,
            reliefs: BTreeMap::new(),
            struck: BTreeMap::new(),
            every_us: options.fault_every_ms * MS,
            begun: 0,
            prng: Prng::new(options.seed ^ 0x5704),
        }
    }

    /// Begins to strike.
    pub fn begin(&mut self, now: u64) {
        self.strike_at = now + self.prng.below(2 * self.every_us);
    }

    /// When something comes or passes.
    pub fn next_at(&self) -> u64 {
        self.strike_at.min(self.reliefs.first_key_value().map_or(u64::MAX, |((at, _), _)| *at))
    }

    fn relief_due(&mut self, now: u64) -> Option<Relief> {
        let first = self.reliefs.first_entry().filter(|first| first.key().0 <= now);
        first.map(|first| first.remove())
    }

    /// All processes are to end, one shortly after the other: those that are left may agree on a view in between.
    fn end_all(&mut self, hosts: usize, now: u64) {
        let most = pick(&mut self.prng, &[0, 5, 50]) * MS;
        for host in 0..hosts {
            let at = now + self.prng.below(most + 1);
            self.relieve_at(at, Relief::End(host, now + most));
        }
    }

    /// Is more to come?
    pub fn is_on(&self) -> bool {
        self.strike_at != u64::MAX
    }

    /// Are processes about to end because all of them are to?
    pub fn is_ending_all(&self) -> bool {
        self.reliefs.values().any(|relief| matches!(relief, Relief::End(..)))
    }

    fn relieve_at(&mut self, at: u64, relief: Relief) {
        self.begun += 1;
        self.reliefs.insert((at, self.begun), relief);
    }

    /// How long something lasts: mostly short, sometimes long.
    pub fn spell(&mut self) -> u64 {
        let most = pick(&mut self.prng, &[50, 400, 2_000]);
        (1 + self.prng.below(most)) * MS
    }
}

impl World {
    /// Whatever of the weather is due.
    pub fn on_weather(&mut self) -> Check {
        while let Some(relief) = self.storm.relief_due(self.now) {
            self.relieve(relief)?;
        }
        if self.storm.strike_at <= self.now {
            self.storm.begin(self.now);
            self.strike()?;
        }
        Ok(())
    }

    /// The storm is over, and what it has done passes.
    pub fn calm_down(&mut self) -> Check {
        self.storm.strike_at = u64::MAX;
        self.network.is_lossy = false;
        if self.storm.is_ending_all() {
            self.losses.disturb();
        }
        self.storm.reliefs.clear();
        self.relieve(Relief::Heal)?;
        for host in 0..self.hosts.len() {
            for relief in [Relief::PowerOn(host), Relief::Resume(host), Relief::Hurry(host), Relief::DiskWell(host)] {
                self.relieve(relief)?;
            }
            self.hosts[host].start_at = self.hosts[host].start_at.min(self.now);
            self.hosts[host].ends_at_view = false;
        }
        Ok(())
    }

    fn strike(&mut self) -> Check {
        let fault = pick(&mut self.storm.prng, &self.options.faults);
        let host = self.storm.prng.below(self.options.nodes as u64) as usize;
        *self.storm.struck.entry(fault).or_default() += 1;
        self.losses.disturb();
        self.weigh_losses();
        self.note(&[0xfa, fault as u64, host as u64], |_| format!("{fault:?} strikes node {}", host + 1));
        match fault {
            Fault::Kill => return self.kill(host),
            Fault::KillHalfHeard => self.kill_half_heard(host),
            Fault::PowerLoss => return self.lose_power(host),
            Fault::Pause => self.pause(host),
            Fault::Slow => self.slow_down(host),
            Fault::Cut | Fault::OneWayCut => self.cut(host, fault == Fault::OneWayCut),
            Fault::Reset => drop(self.network.reset_one(self.now)),
            Fault::DiskFull | Fault::SyncFails => self.disk_trouble(host, fault),
            Fault::Rot => return self.rot(host),
            Fault::WallJump => self.jump_wall_clock(host),
            Fault::Leave => self.leave(host),
            Fault::KillAll | Fault::PowerLossEverywhere => return self.strike_everywhere(fault == Fault::KillAll),
            Fault::Dead | Fault::Connect | Fault::Reconstruct | Fault::Flush => self.operate_at_random(host, fault),
        }
        Ok(())
    }

    /// Between two turns, in the middle of the next commit, or, where that is drawn, when it has just acted on a view that nobody else has acted on.
    fn kill(&mut self, host: usize) -> Check {
        match self.storm.prng.below(4) {
            0 if self.options.ends_at_views => self.hosts[host].ends_at_view = self.hosts[host].process.is_some(),
            0 | 1 => return self.end_process(host),
            _ => self.hosts[host].disk.torn_per_mille = Some(self.storm.prng.below(2_001)),
        }
        Ok(())
    }

    /// A moment after some of the others have ceased to hear it.
    fn kill_half_heard(&mut self, host: usize) {
        let deaf: Vec<usize> = (0..self.hosts.len()).filter(|other| *other != host && self.storm.prng.chance(1, 2)).collect();
        deaf.into_iter().for_each(|other| self.network.cut(host, other));
        let until = self.now + self.storm.spell();
        self.storm.relieve_at(until, Relief::Heal);
        let at = self.now + self.storm.prng.below(20 * MS);
        self.storm.relieve_at(at, Relief::Kill(host));
    }

    /// An operator ends a process in order, or all but one within milliseconds.
    fn leave(&mut self, host: usize) {
        self.hosts[host].leave(self.now);
        if self.storm.prng.chance(1, 2) {
            return;
        }
        let stays = (host + 1 + self.storm.prng.below(self.hosts.len() as u64 - 1) as usize) % self.hosts.len();
        for other in (0..self.hosts.len()).filter(|other| *other != stays && *other != host) {
            let at = self.now + self.storm.prng.below(20 * MS);
            self.storm.relieve_at(at, Relief::Leave(other));
        }
    }

    /// Ends a process; its machine says so to the others, and begins another one after a while.
    pub fn end_process(&mut self, host: usize) -> Check {
        let downtime = self.storm.spell();
        let is_safe = self.is_safe(host);
        let survives = self.options.nodes == 1 && is_safe;
        if self.hosts[host].process.is_some() {
            if !is_safe {
                self.losses.taint(host);
            }
            self.lose_process(host, survives, true)?;
            self.hosts[host].start_at = self.now + downtime;
            self.lose_disk_perhaps(host)?;
        }
        Ok(())
    }

    fn lose_power(&mut self, host: usize) -> Check {
        if !self.hosts[host].is_on {
            return Ok(());
        }
        let is_down = self.hosts[host].process.is_none();
        let is_synced = self.options.sync == Sync::Always && (is_down || self.is_safe(host)) && !self.may_relapse(host);
        let survives = self.options.nodes == 1 && is_synced;
        if !is_synced {
            self.losses.taint(host);
            self.weigh_losses();
        }
        if !survives {
            self.disagree()?;
        }
        self.lose_process(host, survives, false)?;
        let host_mut = &mut self.hosts[host];
        host_mut.is_on = false;
        host_mut.start_at = u64::MAX;
        host_mut.disk.lose_power(&mut self.storm.prng);
        let back_at = self.now + self.storm.spell();
        self.storm.relieve_at(back_at, Relief::PowerOn(host));
        self.lose_disk_perhaps(host)
    }

    /// Does the journal say all that was acknowledged?
    pub fn is_safe(&mut self, host: usize) -> bool {
        let journal = self.hosts[host].process.as_mut().and_then(|process| process.node.journal_mut());
        journal.is_some_and(|journal| journal.is_ok() && !journal.needs_restating())
    }

    /// A journal that has missed deletes is written anew and its old segments are removed. If the removal is not on disk when the power goes,
    /// they are there again, and what was deleted meanwhile with them: `cleaning` does not promise more.
    fn may_relapse(&self, host: usize) -> bool {
        let has_missed = self.options.has(Fault::DiskFull) || self.options.has(Fault::SyncFails) || self.options.evicts();
        has_missed && self.hosts[host].disk.may_bring_back()
    }

    fn lose_disk_perhaps(&mut self, host: usize) -> Check {
        if self.options.empty_disks && self.storm.prng.chance(1, 3) {
            self.note(&[0xed, host as u64], |_| format!("node {} loses its disk", host + 1));
            // Lives are numbered by the clock's seconds: who gets a new disk is away for longer than that.
            let incarnation = self.hosts[host].disk.incarnation.filter(|_| self.options.is_mirrored());
            self.hosts[host].disk = Disk::new(incarnation);
            self.losses.taint(host);
            self.weigh_losses();
            self.disagree()?;
        }
        Ok(())
    }

    fn pause(&mut self, host: usize) {
        self.hosts[host].is_paused = true;
        let until = self.now + self.storm.spell();
        self.storm.relieve_at(until, Relief::Resume(host));
    }

    fn slow_down(&mut self, host: usize) {
        self.hosts[host].turn_us = pick(&mut self.storm.prng, &[2, 10, 40]) * MS;
        let until = self.now + self.storm.spell();
        self.storm.relieve_at(until, Relief::Hurry(host));
    }

    /// Cuts one machine off, or every pair in two.
    fn cut(&mut self, host: usize, one_way: bool) {
        let prng = &mut self.storm.prng;
        let others: Vec<usize> = (0..self.hosts.len()).filter(|other| *other != host && prng.chance(2, 3)).collect();
        let outward = prng.chance(1, 2);
        for other in others {
            if !one_way || outward {
                self.network.cut(host, other);
            }
            if !one_way || !outward {
                self.network.cut(other, host);
            }
        }
        let until = self.now + self.storm.spell();
        self.storm.relieve_at(until, Relief::Heal);
    }

    fn disk_trouble(&mut self, host: usize, fault: Fault) {
        let troubled = &mut self.hosts[host];
        troubled.disk.full |= fault == Fault::DiskFull;
        troubled.syncs_fail |= fault == Fault::SyncFails;
        let until = self.now + self.storm.spell();
        self.storm.relieve_at(until, Relief::DiskWell(host));
    }

    fn rot(&mut self, host: usize) -> Check {
        if self.hosts[host].process.is_some() || self.hosts[host].disk.bytes() == 0 {
            return Ok(());
        }
        self.hosts[host].disk.rot(&mut self.storm.prng);
        self.losses.taint(host);
        self.weigh_losses();
        self.disagree()
    }

    fn jump_wall_clock(&mut self, host: usize) {
        let most = pick(&mut self.storm.prng, &[3_000, 86_400_000]);
        self.hosts[host].clock.wall_error_ms += self.storm.prng.below(2 * most + 1) as i64 - most as i64;
    }

    fn operate_at_random(&mut self, host: usize, fault: Fault) {
        let other = self.storm.prng.below(self.options.nodes as u64) as usize;
        let address = || Cow::Owned(address_of(other).to_string());
        // Before a pool's first view, `dead` says: start with what you have. That is the operator's promise, not ours.
        let has_seat = |process: &Process| {
            process.node.view().is_some_and(|view| view.seat_up(&process.node.me().name, process.node.me().incarnation).is_some())
        };
        if fault == Fault::Dead && self.options.is_judged_always() && !self.hosts[host].process.as_ref().is_some_and(has_seat) {
            return;
        }
        let admin = match fault {
            Fault::Dead => Admin::Dead(address()),
            Fault::Connect => Admin::Connect(address()),
            Fault::Reconstruct => Admin::Reconstruct,
            _ => Admin::Flush { when: Expiry::InMs(pick(&mut self.storm.prng, &[0, 0, 500])) },
        };
        self.operate(host, Request::Admin(admin));
    }

    /// Ends all processes. If all they know is on disk, nothing is lost by that; then the weather holds, mostly, until they are back.
    fn strike_everywhere(&mut self, is_kill: bool) -> Check {
        if self.would_all_survive(is_kill) {
            self.losses.begin_orderly_outage();
            if self.storm.prng.chance(3, 4) {
                self.storm.strike_at = self.now + LULL_US;
            }
        }
        if is_kill {
            self.storm.end_all(self.hosts.len(), self.now);
            return Ok(());
        }
        (0..self.hosts.len()).try_for_each(|host| self.lose_power(host))
    }

    /// One of all processes that end: between two turns, or in the middle of a commit.
    fn end_with_all(&mut self, host: usize, back_at: u64) -> Check {
        if self.storm.prng.chance(1, 2) && self.hosts[host].process.is_some() && !self.hosts[host].is_paused {
            self.hosts[host].disk.torn_per_mille = Some(self.storm.prng.below(2_001));
            self.turn(host)?;
        } else {
            self.end_process(host)?;
        }
        self.hosts[host].start_at = self.hosts[host].start_at.max(back_at);
        Ok(())
    }

    /// Is the pool whole and at peace, and would every journal say all that was acknowledged?
    fn would_all_survive(&mut self, is_kill: bool) -> bool {
        let is_synced = is_kill || self.options.sync == Sync::Always;
        let is_peaceful = self.storm.reliefs.is_empty() && self.check_whole_by_views().is_ok();
        is_synced && is_peaceful && self.options.journal && !self.options.empty_disks && {
            (0..self.hosts.len()).all(|host| self.is_safe(host) && (is_kill || !self.may_relapse(host)))
        }
    }

    fn relieve(&mut self, relief: Relief) -> Check {
        match relief {
            Relief::Kill(host) => self.end_process(host)?,
            Relief::Leave(host) => self.hosts[host].leave(self.now),
            Relief::End(host, back_at) => self.end_with_all(host, back_at)?,
            Relief::PowerOn(host) if !self.hosts[host].is_on => {
                self.hosts[host].is_on = true;
                self.hosts[host].start_at = self.now + self.storm.prng.below(200 * MS);
            }
            Relief::Resume(host) if self.hosts[host].is_paused => self.resume(host),
            Relief::PowerOn(_) | Relief::Resume(_) => {}
            Relief::Hurry(host) => self.hosts[host].hurry(self.now),
            Relief::Heal => self.network.heal(self.now),
            Relief::DiskWell(host) => {
                self.hosts[host].disk.full = false;
                self.hosts[host].syncs_fail = false;
            }
        }
        Ok(())
    }
}
