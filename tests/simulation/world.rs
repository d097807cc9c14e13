//! The world: machines, a network, clients and the weather, on one clock and from one seed.
//!
//! Whatever is due next happens next: an arrival, a turn of a node, a client's request, a fault, a look at what is overdue. Time jumps from
//! one to the other, so an hour passes in seconds; and nothing is drawn but from the seed, so a run can be had again.
//!
//! ```text
//!   settle ─▶ calm ─▶ storm ─▶ settle ─▶ calm ─▶ storm ─▶ ... ─▶ settle ─▶ calm ─▶ every key read at every node
//!     │        └ nothing fails, nobody is held for dead
//!     └ within a bound after the last fault, everybody sees everybody
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use spydercache::caching::record::RECORD_OVERHEAD;
use spydercache::node::ClientId;
use spydercache::node::command::{Admin, Request};
use spydercache::prng::Prng;
use spydercache::topology::membership::{Reason, Standing};

use crate::checker::Checker;
use crate::clients::{Clients, key_of, name_of};
use crate::finding::{Check, Story, answer_in_words, found, in_words};
use crate::host::{Host, Input, Process, Said, address_of};
use crate::losses::{Allowance, Losses};
use crate::network::{Arrival, Holder, Network, Place};
use crate::options::{Fault, MS, Options, Sync};
use crate::planted::Mistake;
use crate::storm::Storm;
use crate::views::Views;

/// After the last fault, everybody sees everybody within this.
const WHOLE_WITHIN_US: u64 = 6_000 * MS;
/// The same for a mirrored pool: copies are made, too.
const MIRRORED_WITHIN_US: u64 = 10_000 * MS;
/// How often deadlines and bounds are looked at.
const LOOK_EVERY_US: u64 = 50 * MS;
/// How often operators mend what only they can.
const MEND_EVERY_US: u64 = 500 * MS;
/// A journal is at most so many times what a journal of the living would be.
const JOURNAL_TIMES: u64 = 5;
/// A node at rest has cleaned up within this: it removes one segment a turn, and has a turn a second.
const CLEANED_WITHIN_US: u64 = 300_000 * MS;
/// One in so many replies meets a planted mistake.
const MISTAKEN_ONE_IN: u64 = 1_000;

/// Everything there is.
pub struct World {
    pub options: Options,
    pub now: u64,
    pub steps: u64,
    pub network: Network,
    pub hosts: Vec<Host>,
    pub storm: Storm,
    pub checker: Checker,
    /// Of a mirrored pool: the views its nodes have acted on, what it has lost, and what that allows.
    pub views: Views,
    pub losses: Losses,
    pub allowance: Allowance,
    /// Is none of its copies left but on disks?
    pub is_out: bool,
    /// When a node that had not left in time was ended: that is as good as a fault.
    pub ended_at: u64,
    clients: Clients,
    pub clients_act: bool,
    is_calm: bool,
    mistake: Option<Mistake>,
    look_at: u64,
    /// Until when a host was paused or slow.
    hindered_until: Vec<u64>,
    /// What the processes think of the pool: their lives, and how often they have changed their minds.
    opinions: Vec<(u64, u64)>,
    /// Since when they agree on every owner.
    agreed_since: Option<u64>,
    /// Who holds whom for declared dead, in which life, since when.
    declared: BTreeMap<(usize, usize), (u64, u64)>,
    /// When `connect` was last said about a node.
    connected_at: Vec<u64>,
    /// Everything that has happened, in one number.
    pub hash: u64,
    /// The last events, if they are to be told.
    pub story: Option<Story>,
    prng: Prng,
}

impl World {
    pub fn new(options: Options, mistake: Option<Mistake>, told: bool) -> World {
        let mut network = Network::new(&options);
        network.disorderly = mistake == Some(Mistake::FramesReordered);
        World {
            now: 0,
            steps: 0,
            network,
            hosts: (0..options.nodes).map(|index| Host::new(index, &options, mistake)).collect(),
            storm: Storm::new(&options),
            checker: Checker::new(&options),
            views: Views::default(),
            losses: Losses::default(),
            allowance: Allowance::Nothing,
            is_out: false,
            ended_at: 0,
            clients: Clients::new(&options),
            clients_act: false,
            is_calm: false,
            mistake,
            look_at: 0,
            hindered_until: vec![0; options.nodes],
            opinions: vec![(0, 0); options.nodes],
            agreed_since: None,
            declared: BTreeMap::new(),
            connected_at: vec![0; options.nodes],
            hash: 0xcbf2_9ce4_8422_2325,
            story: told.then(Story::default),
            prng: Prng::new(options.seed),
            options,
        }
    }

    /// Lives through all rounds.
    pub fn run(&mut self) -> Check {
        self.settle()?;
        self.clients_act = true;
        for _ in 0..self.options.rounds {
            self.stay_calm(self.options.calm_ms * MS)?;
            self.storm.begin(self.now);
            self.network.is_lossy = true;
            self.run_for(self.options.storm_ms * MS)?;
            self.calm_down()?;
            self.settle()?;
        }
        self.stay_calm(self.options.calm_ms * MS)?;
        self.read_everything_everywhere()?;
        self.check_at_rest()?;
        self.clean_up()?;
        self.checker.end_watching()
    }

    /// Lives through a calm, and nothing else.
    pub fn live_calmly(&mut self) -> Check {
        self.settle()?;
        self.clients_act = true;
        self.stay_calm(self.options.calm_ms * MS)
    }

    /// So much time passes.
    pub fn run_for(&mut self, us: u64) -> Check {
        let until = self.now + us;
        loop {
            let at = self.next_at();
            if at > until {
                self.now = until;
                return Ok(());
            }
            self.now = self.now.max(at);
            self.step()?;
        }
    }

    fn next_at(&self) -> u64 {
        let clients_at = if self.clients_act { self.clients.next_at() } else { u64::MAX };
        let hosts_at = self.hosts.iter().map(Host::next_at).min().unwrap_or(u64::MAX);
        self.network.next_at().min(hosts_at).min(clients_at).min(self.storm.next_at()).min(self.look_at)
    }

    /// Does one thing that is due.
    fn step(&mut self) -> Check {
        self.steps += 1;
        if self.storm.next_at() <= self.now {
            return self.on_weather();
        }
        if self.network.next_at() <= self.now {
            if let Some((place, arrival)) = self.network.pop(self.now) {
                self.on_arrival(place, arrival);
            }
            return Ok(());
        }
        if let Some(host) = (0..self.hosts.len()).find(|host| self.hosts[*host].next_at() <= self.now) {
            return if self.hosts[host].process.is_some() { self.turn(host) } else { self.start(host) };
        }
        if self.look_at <= self.now {
            return self.look();
        }
        self.clients_ask();
        Ok(())
    }

    fn start(&mut self, host: usize) -> Check {
        self.hosts[host].start(&self.options, self.now);
        self.hindered_until[host] = self.now;
        self.note(&[0x57, host as u64], |world| {
            let node = world.hosts[host].process.as_ref().map(|process| &process.node);
            let keys = node.map_or(0, |node| node.cache().len());
            format!("node {} begins life {:?} with {keys} keys", host + 1, node.map(|node| node.me().incarnation))
        });
        self.compare_opinions()
    }

    fn on_arrival(&mut self, place: Place, arrival: Arrival) {
        let Place { holder, link } = place;
        let Some(host) = self.hosts.get_mut(holder.host) else { return };
        self.hash = mix(self.hash, &[1, self.now, link.0, holder.host as u64]);
        match (arrival, host.holder()) {
            (_, None) if !host.is_on => {}
            (Arrival::Knock, None) => self.network.refuse(link, self.now),
            (Arrival::Knock, Some(_)) if !host.process.as_ref().is_some_and(Process::listens) => self.network.refuse(link, self.now),
            (Arrival::Knock, Some(holder)) => {
                self.network.accept(Place { holder, link }, self.now);
                host.put(Input::FromNetwork(link, Arrival::Knock), self.now);
            }
            (arrival, Some(present)) if present == holder => host.put(Input::FromNetwork(link, arrival), self.now),
            (Arrival::Bytes(_) | Arrival::Dialled, _) => self.network.reset(link, self.now),
            (Arrival::Refused | Arrival::Closed, _) => {}
        }
    }

    pub fn turn(&mut self, host: usize) -> Check {
        let mut turn = self.hosts[host].turn(self.now);
        self.hash = mix(self.hash, &[2, self.now, host as u64, turn.said.len() as u64]);
        self.compare_opinions()?;
        for (member, to) in std::mem::take(&mut turn.dials) {
            let Some(holder) = self.hosts[host].holder() else { break };
            let link = self.network.dial(holder, to, self.now);
            self.hosts[host].on_dialling(member, link);
        }
        // What a view loses is lost before its answers are looked at.
        let views = self.views.passed.changes;
        self.watch_views(host)?;
        if self.hosts[host].process.is_none() {
            return Ok(());
        }
        if self.hosts[host].ends_at_view && self.views.passed.changes > views {
            return self.end_process(host);
        }
        for said in self.mistaken(std::mem::take(&mut turn.said)) {
            match said {
                Said::Frame(link, bytes) => self.network.send(link, bytes, false, self.now),
                Said::Urgent(link, bytes) => self.network.send(link, bytes, true, self.now),
                Said::HangUp(link) => self.network.close(link, self.now),
                Said::Reply(client, key, answer) => self.on_reply(host, client, &key, answer)?,
            }
        }
        if turn.retired {
            self.check_handed_over(host)?;
            self.weigh_losses();
        }
        match turn {
            _ if turn.crashed => self.end_process(host),
            _ if turn.left => self.end_in_order(host),
            _ => Ok(()),
        }
    }

    fn on_reply(&mut self, host: usize, id: ClientId, key: &[u8], answer: crate::answer::Answer) -> Check {
        let number = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix("key-")).and_then(|number| number.parse().ok());
        self.note_of_key(&[3, id.connection, id.slot], number, |_| {
            format!("node {} answers {}.{}: {}", host + 1, id.connection, id.slot, answer_in_words(&answer))
        });
        self.checker.on_reply(id, key, &answer, &self.clients, self.is_calm)?;
        if let (Some(key), Some(version)) = (number, answer.version()) {
            self.clients.saw(key, version);
        }
        for (id, answer) in self.clients.on_reply(id, answer) {
            self.checker.on_handed(id, &answer, self.now)?;
        }
        Ok(())
    }

    fn clients_ask(&mut self) {
        let processes: Vec<Holder> = self.hosts.iter().filter_map(Host::holder).collect();
        let Some((holder, requests)) = self.clients.act(self.now, &processes) else { return };
        for (id, request) in requests {
            self.ask(id, holder, request);
        }
    }

    fn ask(&mut self, id: ClientId, holder: Holder, request: Request<'static>) {
        self.note_of_key(&[4, id.connection, id.slot], key_of(&request), |_| {
            format!("{}.{} asks node {}: {}", id.connection, id.slot, holder.host + 1, in_words(&request))
        });
        self.checker.on_asked(id, holder, request.clone(), self.now, self.is_calm);
        self.hosts[holder.host].put(Input::Request(id, request), self.now);
    }

    /// The operator at a node asks something, if the node has a process.
    pub fn operate(&mut self, host: usize, request: Request<'static>) {
        let Some(holder) = self.hosts[host].holder() else { return };
        if let Request::Admin(Admin::Connect(address)) = &request {
            let named = (0..self.hosts.len()).find(|other| address_of(*other).to_string() == **address);
            named.into_iter().for_each(|other| self.connected_at[other] = self.now);
        }
        let id = self.clients.operate(holder);
        self.ask(id, holder, request);
    }

    /// A process is gone. If it `survives`, all it had acknowledged is to be there when it comes back.
    pub fn lose_process(&mut self, host: usize, survives: bool, is_told: bool) -> Check {
        let Some(holder) = self.hosts[host].holder() else { return Ok(()) };
        self.note(&[5, host as u64], |_| format!("node {} is gone", host + 1));
        self.hosts[host].stop();
        if is_told {
            self.network.close_all(holder, self.now);
        }
        for id in self.clients.on_lost(holder) {
            self.checker.on_lost(id, self.now)?;
        }
        self.declared.retain(|(by, _), _| *by != host);
        self.weigh_losses();
        let has_ends = self.options.ttl_one_in > 0 && self.options.has(Fault::WallJump);
        if survives && !has_ends {
            self.checker.on_restarted();
            return Ok(());
        }
        self.disagree()
    }

    /// A paused process goes on.
    pub fn resume(&mut self, host: usize) {
        self.hosts[host].resume(self.now);
        self.hindered_until[host] = self.now;
    }

    /// What was agreed is so no longer. Where views are agreed upon, that changes nothing.
    pub fn disagree(&mut self) -> Check {
        if self.options.is_mirrored() {
            return Ok(());
        }
        self.agreed_since = None;
        self.opinions.fill((0, 0));
        self.checker.end_watching()
    }

    /// Has anybody changed its mind? Then look whether they agree.
    fn compare_opinions(&mut self) -> Check {
        if self.options.is_mirrored() {
            return Ok(());
        }
        let opinion = |host: &Host| host.process.as_ref().map_or((0, 0), |process| (process.life, process.node.membership().changes()));
        let alone = self.hosts.len() == 1 && self.agreed_since.is_some();
        if alone || (self.agreed_since.is_some() && self.hosts.iter().map(opinion).eq(self.opinions.iter().copied())) {
            return Ok(());
        }
        let opinions: Vec<(u64, u64)> = self.hosts.iter().map(opinion).collect();
        if opinions == self.opinions {
            return Ok(());
        }
        self.disagree()?;
        self.opinions = opinions;
        self.check_declared()?;
        if self.do_agree() {
            self.agreed_since = Some(self.now);
        }
        Ok(())
    }

    /// Does every process name the same owner for every key, and is that one there?
    fn do_agree(&self) -> bool {
        (0..self.options.keys).all(|key| {
            let place = spydercache::hash::Hasher::new(0).hash(&name_of(key)).place;
            let mut owners = self.hosts.iter().filter_map(|host| host.process.as_ref()).map(|process| {
                let membership = process.node.membership();
                membership.owner(place).map(|owner| membership.get(owner).card.address)
            });
            let Some(Some(first)) = owners.next() else { return false };
            self.hosts[crate::host::host_at(first)].process.is_some() && owners.all(|owner| owner == Some(first))
        })
    }

    /// A member that was declared dead stays so until `connect` names it, or it begins a new life.
    fn check_declared(&mut self) -> Check {
        for (by, host) in self.hosts.iter().enumerate() {
            let Some(process) = &host.process else { continue };
            for (_, member) in process.node.membership().all() {
                let whom = crate::host::host_at(member.card.address);
                let incarnation = member.card.incarnation;
                if member.standing == Standing::Down(Reason::Declared) {
                    self.declared.entry((by, whom)).or_insert((incarnation, self.now));
                } else if let Some((life, since)) = self.declared.remove(&(by, whom))
                    && incarnation <= life
                    && self.connected_at[whom] + 10_000 * MS < since
                {
                    return found(format!("node {} was declared dead, and node {} takes it back without being told", whom + 1, by + 1));
                }
            }
        }
        Ok(())
    }

    /// Looks at everything that is not noticed by itself.
    fn look(&mut self) -> Check {
        self.look_at = self.now + LOOK_EVERY_US;
        for (host, until) in self.hosts.iter().zip(&mut self.hindered_until) {
            if host.is_paused || host.is_slow() {
                *until = self.now;
            }
        }
        let (hosts, until) = (&self.hosts, &self.hindered_until);
        self.checker.check_deadlines(self.now, |holder| if hosts[holder.host].is_paused { u64::MAX } else { until[holder.host] })?;
        if !self.options.is_mirrored() {
            self.watch_if_agreed();
        }
        Ok(())
    }

    /// Watches exactly from the moment on when nothing is under way that is older than the agreement.
    fn watch_if_agreed(&mut self) {
        let Some(since) = self.agreed_since.filter(|_| !self.checker.is_watching() && !self.checker.expects_flush(self.now)) else {
            return;
        };
        let inputs = self.hosts.iter().filter_map(|host| host.process.as_ref()).map(|process| process.oldest_input()).min();
        let on_its_way = self.network.oldest().min(inputs.unwrap_or(u64::MAX));
        let is_clean = on_its_way >= since.max(self.checker.given_up_at) && self.checker.oldest() >= since;
        if is_clean && self.now > since {
            self.note(&[6], |_| "the pool agrees, and is watched".into());
            self.checker.begin_watching(since);
        }
    }

    /// The faults are over: everybody sees everybody within a bound. Twice, since what was said in the storm may still arrive after the first
    /// time: the word of a node that has ended since, that another one is dead.
    fn settle(&mut self) -> Check {
        let began = self.now;
        self.become_whole()?;
        if self.clients_act {
            self.views.passed.whole_after_us.push(self.now - began);
        }
        let began = self.now;
        // What was asked in the storm is answered before the calm begins.
        self.run_for((self.options.request_timeout_ms + 2 * self.options.pace.silence_ms) * MS)?;
        self.become_whole()?;
        self.come_to_rest(began)
    }

    fn become_whole(&mut self) -> Check {
        let began = self.now;
        let within = if self.options.is_mirrored() { MIRRORED_WITHIN_US } else { WHOLE_WITHIN_US };
        let mut mend_at = self.now + MEND_EVERY_US;
        while let Err(finding) = self.check_whole() {
            let since = began.max(self.ended_at);
            if self.now > since + within {
                return found(format!("{} ms after the last fault, {}", (self.now - since) / MS, finding.what));
            }
            if self.now >= mend_at {
                mend_at = self.now + MEND_EVERY_US;
                self.mend();
            }
            self.run_for(10 * MS)?;
        }
        Ok(())
    }

    fn check_whole(&self) -> Check {
        if self.options.is_mirrored() {
            return self.check_whole_by_views();
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(process) = &host.process else { return found(format!("node {} has no process", index + 1)) };
            let membership = process.node.membership();
            if membership.len() != self.hosts.len() {
                return found(format!("node {} knows {} of {} nodes", index + 1, membership.len(), self.hosts.len()));
            }
            if let Some((_, other)) = membership.all().find(|(_, member)| member.standing != Standing::Up) {
                return found(format!("node {} says that {} is {}", index + 1, other.card.name, other.standing.word()));
            }
        }
        if self.do_agree() { Ok(()) } else { found("the nodes name different owners".into()) }
    }

    /// What only operators can mend: nodes that were declared dead, and nodes that know nobody.
    fn mend(&mut self) {
        let mut orders = self.orders_to_pardon();
        for (index, host) in self.hosts.iter().enumerate().filter(|_| !self.options.is_mirrored()) {
            let Some(process) = &host.process else { continue };
            let membership = process.node.membership();
            let dead = membership.others().filter(|(_, member)| member.standing == Standing::Down(Reason::Declared));
            orders.extend(dead.map(|(_, member)| (index, member.card.address)));
            if membership.me().standing != Standing::Up {
                orders.extend((0..self.hosts.len()).filter(|other| *other != index).map(|other| (other, address_of(index))));
            }
        }
        let founders = self.options.nodes - self.options.joiners;
        let are_brought = !self.options.is_mirrored() || !self.options.joiners_know;
        orders.extend((founders..self.options.nodes).filter(|_| are_brought).map(|joiner| (0, address_of(joiner))));
        for (host, address) in orders {
            self.operate(host, Request::Admin(Admin::Connect(Cow::Owned(address.to_string()))));
        }
    }

    /// No faults: nothing fails, and nobody is held for dead.
    fn stay_calm(&mut self, us: u64) -> Check {
        let slow_disk =
            self.options.journal && self.options.sync == Sync::Always && 4 * self.options.sync_us > self.options.request_timeout_ms * MS;
        self.is_calm = !slow_disk;
        self.run_for(us)?;
        if self.is_calm {
            self.check_whole().or_else(|finding| found(format!("nothing has happened, and {}", finding.what)))?;
        }
        self.is_calm = false;
        Ok(())
    }

    fn read_everything_everywhere(&mut self) -> Check {
        self.clients_act = false;
        self.is_calm = true;
        for host in 0..self.hosts.len() {
            for key in 0..self.options.keys {
                self.operate(host, Clients::read_of(key));
            }
        }
        self.run_for(2 * self.options.request_timeout_ms * MS)?;
        let oldest = self.checker.oldest();
        if oldest == u64::MAX {
            Ok(())
        } else {
            found(format!("a request of {} ms ago is not answered at the end", (self.now - oldest) / MS))
        }
    }

    /// Nodes at rest clean up.
    fn clean_up(&mut self) -> Check {
        let began = self.now;
        while let Err(finding) = self.check_journals() {
            if self.now > began + CLEANED_WITHIN_US {
                return Err(finding);
            }
            self.run_for(500 * MS)?;
        }
        Ok(())
    }

    fn check_journals(&self) -> Check {
        for (index, host) in self.hosts.iter().enumerate() {
            let Some(process) = &host.process else { continue };
            let cache = process.node.cache();
            let living = cache.bytes() + (RECORD_OVERHEAD * cache.len()) as u64;
            let (bytes, most) = (host.disk.bytes(), JOURNAL_TIMES * (living + self.options.segment_size));
            if bytes > most {
                return found(format!("the journal of node {} has {bytes} bytes, for {living} that live", index + 1));
            }
        }
        Ok(())
    }

    /// What a planted mistake makes of what was said.
    fn mistaken(&mut self, mut said: Vec<Said>) -> Vec<Said> {
        let replies: Vec<usize> = said.iter().enumerate().filter(|(_, said)| matches!(said, Said::Reply(..))).map(|(at, _)| at).collect();
        if self.mistake.is_none() || replies.is_empty() {
            return said;
        }
        let hit = self.prng.chance(replies.len() as u64, MISTAKEN_ONE_IN);
        let first = replies[0];
        match self.mistake {
            Some(Mistake::ReplyLost) if hit => drop(said.remove(first)),
            Some(Mistake::ReplyTwice) if hit => {
                let Said::Reply(client, key, answer) = &said[first] else { return said };
                let again = Said::Reply(*client, key.clone(), answer.clone());
                said.push(again);
            }
            Some(Mistake::RepliesSwapped) if replies.len() > 1 => swap_answers(&mut said, first, replies[1]),
            _ => {}
        }
        said
    }

    /// Something has happened: it goes into the hash, and into the story if there is to be one.
    pub fn note(&mut self, numbers: &[u64], tell: impl FnOnce(&World) -> String) {
        self.note_of_key(numbers, None, tell);
    }

    fn note_of_key(&mut self, numbers: &[u64], key: Option<u64>, tell: impl FnOnce(&World) -> String) {
        self.hash = mix(mix(self.hash, &[self.now]), numbers);
        if self.story.is_some() {
            let event = format!("{:>12.3} ms  {}", self.now as f64 / MS as f64, tell(self));
            self.story.get_or_insert_default().add(key, event);
        }
    }
}

fn swap_answers(said: &mut [Said], one: usize, two: usize) {
    let (front, back) = said.split_at_mut(two);
    if let (Said::Reply(_, _, first), Said::Reply(_, _, second)) = (&mut front[one], &mut back[0]) {
        std::mem::swap(first, second);
    }
}

/// FNV-1a, a word at a time.
fn mix(hash: u64, words: &[u64]) -> u64 {
    words.iter().fold(hash, |hash, word| (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23))
}
