//! The world's eye on a mirrored pool: its views, its leases and its copies are looked at from within.
//!
//! What clients see is judged by the checker. Here is what no client can see, and must be so all the same: at most one process at a time
//! may speak for a place; a node that has left in order leaves nothing behind; when all is at rest, every holder of a key has the same of it.
//! Here is also what the views say about losses, which the checker has to know.

use spydercache::time::Mono;
use spydercache::topology::membership::Card;
use spydercache::topology::placement::Placement;
use spydercache::topology::view::{Standing, View};

use crate::clients::{LONGEST_TTL_MS, name_of};
use crate::finding::{Check, Finding, found};
use crate::host::{Host, Process, address_of, host_at};
use crate::losses::{Allowance, begins_in_doubt};
use crate::options::{Fault, MS};
use crate::views::Departure;
use crate::world::World;

/// Who was asked to leave and has not done so by then is ended.
const LEFT_WITHIN_US: u64 = 8_000 * MS;
/// The clients pause for so long, so that a pool at rest can be looked at.
const REST_US: u64 = 300 * MS;

impl World {
    /// A process has had a turn.
    pub fn watch_views(&mut self, host: usize) -> Check {
        if !self.options.is_mirrored() {
            return Ok(());
        }
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        if process.leaving_for(self.now) > LEFT_WITHIN_US {
            self.ended_at = self.now;
            return self.end_process(host);
        }
        let serves = process.node.is_serving(self.hosts[host].read_clock(self.now).mono);
        if let Some(view) = process.node.view().filter(|_| self.options.is_judged_always()) {
            let before = self.views.newest().filter(|newest| newest.id() != view.id()).cloned();
            let departure = |card: &Card| departure(&self.hosts[host_at(card.address)], card);
            let is_new = self.views.on_view(host, process.life, view, departure)?;
            self.views.on_serving(host, serves);
            if is_new {
                self.on_new_view(before);
            }
        }
        if serves { self.check_owns_alone(host) } else { Ok(()) }
    }

    fn on_new_view(&mut self, before: Option<View>) {
        let Some(view) = self.views.newest() else { return };
        let (number, line, is_whole) = ([view.lineage, view.epoch], in_a_line(view), view.is_whole());
        let hosts = &self.hosts;
        let is_there = |card: &Card| lives(&hosts[host_at(card.address)], card);
        let stays = |card: &Card| view.seat_up(&card.name, card.incarnation).is_some() && is_there(card);
        let is_in_doubt = before.as_ref().is_some_and(|before| begins_in_doubt(view, before, is_there));
        let before = before.filter(|before| before.lineage == view.lineage);
        // Who is thrown out of a pool that comes back has not been left alone, whatever the weather.
        let throws_out = |before: &View| before.settled.iter().any(|settled| is_there(&settled.card) && !stays(&settled.card));
        if before.as_ref().is_some_and(throws_out) {
            self.losses.disturb();
        }
        let between = before.map(|before| self.losses.allowance(&before, host_of, stays)).or(is_in_doubt.then_some(Allowance::Misses));
        self.note(&number, |_| line);
        // A node alone goes through several views in one turn: what was lost in between shows only here.
        between.into_iter().for_each(|between| self.allow(between));
        if is_whole && !self.storm.is_ending_all() {
            let sound: Vec<bool> = (0..self.hosts.len()).map(|host| self.is_safe(host)).collect();
            self.losses.on_whole(|host| sound[host]);
        }
        self.weigh_losses();
    }

    /// A copy was lost, or the pool has made new ones: tells the checker what is allowed from now on.
    pub fn weigh_losses(&mut self) {
        let Some(newest) = self.views.newest().filter(|_| self.options.is_judged_always()) else { return };
        let is_out = !newest.settled.iter().any(|settled| settled.role.has_keys() && self.lives(&settled.card));
        let allowance = self.losses.allowance(newest, host_of, |card| self.lives(card));
        if is_out && !self.is_out {
            // A journal says ends by the wall clock: one that was set back since brings back what had ended.
            let ends_move = self.options.has(Fault::WallJump) && self.options.ttl_one_in > 0;
            if ends_move { self.checker.on_relapse() } else { self.checker.on_restarted() }
        }
        self.is_out = is_out;
        self.allow(allowance);
    }

    fn allow(&mut self, allowance: Allowance) {
        let before = std::mem::replace(&mut self.allowance, allowance);
        if (before == Allowance::Nothing) != (allowance == Allowance::Nothing) {
            self.checker.on_loss(allowance != Allowance::Nothing);
        }
        // What is believed in the end is known when it is over.
        let relapses = |allowance: Allowance| matches!(allowance, Allowance::Relapses { .. });
        if before != allowance && (relapses(allowance) || relapses(before)) {
            self.checker.on_relapse();
        }
        if before != allowance {
            self.note(&[8, u64::from(allowance != Allowance::Nothing)], |_| format!("what may be lost from now on: {allowance:?}"));
        }
    }

    /// Is this life of a member still there?
    fn lives(&self, card: &Card) -> bool {
        lives(&self.hosts[host_at(card.address)], card)
    }

    /// At most one process speaks for a place at a time. Another place is looked at each time.
    fn check_owns_alone(&self, host: usize) -> Check {
        let place = place_of(self.steps % self.options.keys);
        let lineage = |process: &Process| process.node.view().map_or(0, |view| view.lineage);
        let speaks = |process: &Process, host: &Host| process.node.owns(place, host.read_clock(self.now).mono);
        let owns = |host: &Host| host.process.as_ref().is_some_and(|process| speaks(process, host));
        // Who knows nobody yet is a pool of its own, until somebody connects it.
        let mine = self.hosts[host].process.as_ref().map_or(0, lineage);
        let founds =
            |host: &Host| self.options.joiners > 0 && !self.options.joiners_know && host.process.as_ref().map_or(0, lineage) != mine;
        if !self.options.is_judged_always() || !owns(&self.hosts[host]) {
            return Ok(());
        }
        match self.hosts.iter().find(|other| other.index != host && owns(other) && !founds(other)) {
            Some(other) => found(format!("nodes {} and {} both speak for the place {place:08x}", host + 1, other.index + 1)),
            None => Ok(()),
        }
    }

    /// A node that was asked to leave has done so. If all leave, nobody is left to hand anything to.
    pub fn check_handed_over(&self, host: usize) -> Check {
        let Some(process) = &self.hosts[host].process else { return Ok(()) };
        let me = process.node.me();
        let stays = |card: &Card| {
            let process = self.hosts[host_at(card.address)].process.as_ref();
            self.lives(card) && process.is_some_and(|process| process.leaving_since.is_none())
        };
        let others_stay = |view: &View| view.up().any(|seat| stays(&view.seats[seat].card));
        let still_holds = |view: &View| view.settled.iter().any(|settled| settled.role.has_keys() && settled.card == *me);
        if self.views.newest().is_some_and(|view| others_stay(view) && still_holds(view)) {
            return found(format!("node {} has left, and what it holds is not handed over", host + 1));
        }
        Ok(())
    }

    /// It has finished what it owed, too: its process ends, and comes back later, sometimes not before a pool would begin without it.
    pub fn end_in_order(&mut self, host: usize) -> Check {
        self.hosts[host].finish();
        self.end_process(host)?;
        if self.storm.is_on() && self.storm.prng.chance(1, 2) {
            self.hosts[host].start_at += 2 * self.options.boot_wait_ms * MS;
        }
        Ok(())
    }

    /// Kills a process whose machine stays without one.
    pub fn kill_for_good(&mut self, host: usize) -> Check {
        self.lose_process(host, false, true)
    }

    /// Whole: every process is up in one and the same view, which has every copy in place, and serves.
    pub fn check_whole_by_views(&self) -> Check {
        self.check_whole_among(&self.hosts.iter().collect::<Vec<&Host>>())
    }

    /// The same of all but one, whose machine has no process.
    pub fn check_whole_without(&self, absent: usize) -> Check {
        self.check_whole_among(&self.hosts.iter().filter(|host| host.index != absent).collect::<Vec<&Host>>())
    }

    fn check_whole_among(&self, hosts: &[&Host]) -> Check {
        let mut first: Option<&View> = None;
        for host in hosts {
            let Some(process) = &host.process else { return found(format!("node {} has no process", host.index + 1)) };
            let Some(view) = process.node.view() else { return found(format!("node {} has no view", host.index + 1)) };
            if *first.get_or_insert(view) != view {
                return found(format!(
                    "node {} is in epoch {}, node 1 in {}",
                    host.index + 1,
                    view.epoch,
                    first.map_or(0, |view| view.epoch)
                ));
            }
            self.check_part(host, process, view)?;
            if view.up().count() != hosts.len() {
                return found(format!("somebody is in it who is no more: {}", in_a_line(view)));
            }
        }
        let enough = first.is_some_and(|view| hosts.len() >= view.copies as usize);
        let lacking = hosts.iter().filter_map(|host| host.process.as_ref()).map(|process| process.node.lost_redundancy()).sum::<usize>();
        if enough && lacking > 0 { found(format!("{lacking} arcs lack copies")) } else { Ok(()) }
    }

    fn check_part(&self, host: &Host, process: &Process, view: &View) -> Check {
        let (me, number) = (process.node.me(), host.index + 1);
        let seat = view.seat_up(&me.name, me.incarnation).map(|seat| view.seats[seat].standing);
        if seat != Some(Standing::Up) {
            return found(format!("node {number} is not up in epoch {}: {}", view.epoch, in_a_line(view)));
        }
        if !view.is_whole() {
            return found(format!("not all copies are in place: {}", in_a_line(view)));
        }
        if !process.node.is_serving(host.read_clock(self.now).mono) {
            return found(format!("node {number} has no lease"));
        }
        Ok(())
    }

    /// Operators pardon who was declared dead: at a node that serves.
    pub fn orders_to_pardon(&self) -> Vec<(usize, std::net::SocketAddr)> {
        let serving = self.hosts.iter().filter_map(|host| host.process.as_ref().map(|process| (host, process)));
        let mut serving = serving.filter(|(host, process)| process.node.is_serving(host.read_clock(self.now).mono));
        let Some((speaker, process)) = serving.next().filter(|_| self.options.is_mirrored()) else { return Vec::new() };
        let seats = process.node.view().map_or(&[][..], |view| &view.seats);
        let banned = seats.iter().filter(|seat| seat.standing == Standing::Banned);
        banned.map(|seat| (speaker.index, address_of(host_at(seat.card.address)))).collect()
    }

    /// The clients pause: what was given up since `began` will not happen any more, and copies can be compared.
    pub fn come_to_rest(&mut self, began: u64) -> Check {
        if !self.options.is_mirrored() {
            return Ok(());
        }
        let acted = std::mem::replace(&mut self.clients_act, false);
        self.run_for(REST_US)?;
        self.clients_act = acted;
        let inputs = self.hosts.iter().filter_map(|host| host.process.as_ref()).map(Process::oldest_input).min();
        let oldest = self.network.oldest().min(inputs.unwrap_or(u64::MAX)).min(self.checker.oldest());
        if oldest > began && !self.checker.expects_flush(self.now) && self.checker.given_up_at < oldest {
            self.checker.on_quiet(self.now);
        }
        if self.checker.oldest() == u64::MAX && self.check_whole_by_views().is_ok() { self.check_at_rest() } else { Ok(()) }
    }

    /// With nothing in flight, all that have a key completely have the same of it.
    pub fn check_at_rest(&self) -> Check {
        let Some(view) = self.views.newest().filter(|_| self.options.is_judged_always()) else { return Ok(()) };
        let placement = Placement::new(view);
        for key in 0..self.options.keys {
            let Some(arc) = placement.arc(place_of(key)) else { continue };
            let copies: Vec<Copy> = arc.complete().filter_map(|seat| self.copy_at(host_at(view.seats[seat].card.address), key)).collect();
            let Some((owner, mirrors)) = copies.split_first() else { continue };
            if let Some(mirror) = mirrors.iter().find(|mirror| !self.may_differ(owner, mirror)) {
                let what = format!("at rest, the copies of key-{key} differ: {owner:?} at its owner, {mirror:?} at a mirror");
                return Err(Finding { what, key: Some(key) });
            }
        }
        Ok(())
    }

    fn copy_at(&self, index: usize, key: u64) -> Option<Copy> {
        let host = &self.hosts[index];
        let node = &host.process.as_ref()?.node;
        let (name, now) = (name_of(key), host.read_clock(self.now).mono);
        let entry = node.cache().peek(&name, node.hash(&name), now);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let content = entry.map(|entry| (text(entry.value()), entry.flags(), text(entry.extra()), entry.version().0));
        let left_ms = entry.filter(|entry| entry.expires() != Mono::NEVER).map(|entry| entry.expires().since(now));
        Some(Copy { host: index, content, left_ms })
    }

    /// Two copies are equal, or just about to expire; and who is full may have evicted its own.
    fn may_differ(&self, one: &Copy, other: &Copy) -> bool {
        let drift_ms = (2 * LONGEST_TTL_MS * self.options.drift_ppm).div_ceil(1_000_000);
        let lag_ms = self.options.lag_us().unwrap_or(0) / MS + drift_ms;
        let is_ending = |copy: &Copy| copy.left_ms.is_some_and(|left| left <= lag_ms);
        let either_is_gone = one.content.is_none() || other.content.is_none();
        one.content == other.content || (either_is_gone && (self.options.evicts() || is_ending(one) || is_ending(other)))
    }
}

/// A key as a host has it.
#[derive(Debug)]
struct Copy {
    #[allow(dead_code)] // told to people
    host: usize,
    /// Its value, flags, extra and version.
    content: Option<(String, u32, String, u64)>,
    left_ms: Option<u64>,
}

fn place_of(key: u64) -> u32 {
    spydercache::hash::Hasher::new(0).hash(&name_of(key)).place
}

fn host_of(card: &Card) -> usize {
    host_at(card.address)
}

/// Is this life of a member still there? One that only says farewell is not.
fn lives(host: &Host, card: &Card) -> bool {
    host.process.as_ref().is_some_and(|process| process.node.me().incarnation == card.incarnation && process.listens())
}

fn departure(host: &Host, card: &Card) -> Departure {
    if lives(host, card) || !host.is_on { Departure::Silent } else { Departure::Refused }
}

/// A view for people: who is up, and who has what it should.
fn in_a_line(view: &View) -> String {
    let number = |card: &Card| 1 + host_at(card.address);
    let up: Vec<String> = view.seats.iter().map(|seat| format!("{} {:?}", number(&seat.card), seat.standing)).collect();
    let settled: Vec<String> = view.settled.iter().map(|settled| format!("{} {:?}", number(&settled.card), settled.role)).collect();
    let first_only = if view.first_only { ", the first only" } else { "" };
    format!("view {} of {:x}: {}; settled: {}{first_only}", view.epoch, view.lineage, up.join(", "), settled.join(", "))
}
