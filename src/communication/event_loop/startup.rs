//! From a configuration to a node that serves: its folder, its life's number, its journal read, its port open.
//!
//! The port is opened last, unless it is to be any free one: a node that is still reading its journal refuses connections, which tells
//! peers and clients plainly that it is not there yet.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use log::{info, warn};
use mio::net::TcpListener;
use mio::{Interest, Poll};

use super::durability::Durability;
use super::sockets::{SPARE_CONNECTIONS, Table, TokenSet};
use super::{Clock, EventLoop, LISTENER, waker, watch_signals};
use crate::caching::cache::Bounds;
use crate::caching::journal::{Journal, SegmentName};
use crate::caching::replay::Replay;
use crate::communication::access::Gate;
use crate::communication::http::Hosts;
use crate::config::{Config, OnSilence, Sync};
use crate::disk::{Folder, Syncer};
use crate::node::{Mistakes, Node, Secret, Settings};
use crate::prng::Prng;
use crate::time::{Mono, Now};
use crate::topology::heartbeat::Pace;
use crate::topology::membership::Card;
use crate::topology::view::Mirrors;

/// Incarnations count the milliseconds from here, so that they grow even without a disk to remember them: 2020-01-01 UTC.
const EPOCH_BEGAN_MS: u64 = 1_577_836_800_000;
/// Bytes of the journal read between two looks at the clock.
const REPLAY_A_STEP: usize = 4 << 20;
/// Time between two lines about the progress of recovery.
const PROGRESS_EVERY_MS: u128 = 1_000;
/// File descriptors kept back from clients, for peers, the journal and the loop itself.
const KEPT_DESCRIPTORS: u64 = 160;

/// Makes a node ready to run.
pub(super) fn start(mut config: Config) -> Result<EventLoop, String> {
    let clock = Clock::new();
    let now = clock.read();
    let spare_connections = bound_connections(&mut config);
    let poll = Poll::new().map_err(|error| format!("cannot poll: {error}"))?;
    let early = if config.local.node_port == 0 { Some(listen(&mut config)?) } else { None };

    let seed = RandomState::new().build_hasher().finish();
    let mut folder = open_folder(&config)?;
    let incarnation = begin_life(folder.as_ref(), now)?;
    let segments = folder.as_ref().map_or_else(|| Ok(Vec::new()), Folder::segments).map_err(|error| error.to_string())?;
    let journal = folder.is_some().then(|| Journal::new(config.journal.segment_size, segments.clone(), Prng::new(seed)));
    let kept = folder.as_ref().and_then(Folder::read_view);
    begin_views(&config, folder.as_mut(), kept.as_deref())?;
    let mut node = Node::new(settings(&config, incarnation, seed)?, journal, kept.as_deref(), now);
    node.gauges.is_unprotected = config.listens_beyond_this_host() && config.security.password.is_empty();
    node.gauges.pid = std::process::id();
    node.gauges.max_connections = config.limits.max_connections as u64;
    let durability = durability(folder, segments, &mut node, &config, &poll, &clock)?;

    let mut listener = early.map_or_else(|| listen(&mut config), Ok)?;
    let registered = poll.registry().register(&mut listener, LISTENER, Interest::READABLE);
    registered.map_err(|error| format!("cannot watch the port: {error}"))?;
    let (signals, signal_senders) = watch_signals(&poll).map_err(|error| format!("cannot watch for signals: {error}"))?;
    info!("node {} listens on {}:{}", config.local.node_id, config.local.node_address, config.local.node_port);
    let hosts = Arc::new(Hosts::new(config.hosts()));
    Ok(EventLoop {
        gate: Gate::new(&config.security.password),
        config,
        hosts,
        clock,
        poll,
        listener: Some(listener),
        signals,
        _signal_senders: signal_senders,
        node,
        table: Table::with_spare(spare_connections),
        durability,
        replay_ordered: false,
        replay: None,
        ready: TokenSet::default(),
        dirty: TokenSet::default(),
        orders: Vec::new(),
        batch: Vec::new(),
        accept_at: Mono::NEVER,
        complain_at: Mono::default(),
        sweep_at: Mono::default(),
        announced: false,
        leaves_by: None,
        farewell: None,
    })
}

/// What a replay found damaged, for the log.
pub(super) fn log_damages(replay: &Replay) {
    for (segment, damage) in replay.damages() {
        let kind = if damage.tail { "the tail" } else { "a part" };
        warn!("{}: {kind} of {} bytes at offset {} is not used: {}", segment.file_name(), damage.length, damage.offset, damage.what);
    }
}

/// As many connections as there are descriptors for, and no more. Returns how many may come beyond them: where descriptors are scarce, so
/// few that peers and the journal still find some.
fn bound_connections(config: &mut Config) -> usize {
    let Ok(descriptors) = rlimit::increase_nofile_limit(config.limits.max_connections as u64 + KEPT_DESCRIPTORS) else {
        return SPARE_CONNECTIONS;
    };
    let affordable = descriptors.saturating_sub(KEPT_DESCRIPTORS).max(descriptors / 4) as usize;
    if affordable < config.limits.max_connections {
        warn!("limits.max_connections is lowered to {affordable}: the process may open {descriptors} files");
        config.limits.max_connections = affordable;
    }
    SPARE_CONNECTIONS.min(descriptors as usize / 4)
}

/// Opens the port; a port of 0 becomes the one that was free.
fn listen(config: &mut Config) -> Result<TcpListener, String> {
    let (address, port) = (config.local.node_address.as_str(), config.local.node_port);
    let problem = |error: io::Error| format!("cannot listen on {address}:{port}: {error}");
    let resolved = (address, port).to_socket_addrs().map_err(problem)?.next();
    let resolved = resolved.ok_or_else(|| format!("{address} has no address"))?;
    let listener = TcpListener::bind(resolved).map_err(problem)?;
    let bound = listener.local_addr().map_err(problem)?.port();
    config.local.node_port = bound;
    Ok(listener)
}

fn open_folder(config: &Config) -> Result<Option<Folder>, String> {
    if !config.journal.enabled {
        return Ok(None);
    }
    Folder::open(&config.journal_dir()).map(Some).map_err(|error| error.to_string())
}

/// The number of this life: greater than that of any life before it, on disk before it is used.
fn begin_life(folder: Option<&Folder>, now: Now) -> Result<u64, String> {
    let by_clock = now.wall.0.saturating_sub(EPOCH_BEGAN_MS).max(1);
    let Some(folder) = folder else { return Ok(by_clock) };
    let problem = |error: io::Error| format!("the number of the node's life: {error}");
    let former = folder.read_incarnation().map_err(problem)?.unwrap_or(0);
    let incarnation = by_clock.max(former + 1);
    folder.write_incarnation(incarnation).map_err(problem)?;
    Ok(incarnation)
}

/// A new file for the views of this life, if its nodes agree on any: to make one takes the disk milliseconds, in which the first view would wait.
fn begin_views(config: &Config, folder: Option<&mut Folder>, kept: Option<&[u8]>) -> Result<(), String> {
    match folder {
        Some(folder) if config.network.mirrors != Mirrors::Next(0) => folder.begin_views(kept).map_err(|error| error.to_string()),
        Some(_) | None => Ok(()),
    }
}

fn settings(config: &Config, incarnation: u64, seed: u64) -> Result<Settings, String> {
    let name = config.ring_name();
    let announced = match name.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => (config.local.node_address.as_str(), config.local.node_port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("{} has no address", config.local.node_address))?,
    };
    if announced.ip().is_unspecified() && !config.network.peers.is_empty() {
        warn!("{announced} is nothing that other hosts can dial: set local.name to the IP:PORT under which they reach this node");
    }
    let stand_ins = if let Mirrors::Named(named) = &config.network.mirrors { named.clone() } else { Vec::new() };
    let me = Card { name, node_id: config.local.node_id.clone(), address: announced, weight: config.local.weight, incarnation, stand_ins };
    Ok(Settings {
        pool: config.network.pool.clone(),
        peers: config.network.peers.iter().copied().filter(|peer| *peer != announced).collect(),
        mirrors: config.network.mirrors.clone(),
        serve_on_silence: config.network.on_silence == OnSilence::Serve,
        boot_wait_ms: config.network.boot_wait_ms,
        mistakes: Mistakes::default(),
        bounds: Bounds { max_keys: config.local.cache_size, max_bytes: config.local.max_memory },
        max_value: config.limits.max_value,
        pace: Pace { every_ms: config.network.heartbeat_ms, silence_ms: config.network.silence_ms },
        request_timeout_ms: config.limits.request_timeout_ms,
        sync_matters: config.journal.sync != Sync::No,
        secret: Secret::new(config.pool_secret()),
        shown: shown(config),
        seed,
        me,
    })
}

/// What `stats settings` shows: memcached's names where there are such.
fn shown(config: &Config) -> Vec<(String, String)> {
    let limits = &config.limits;
    let lines: [(&str, String); 21] = [
        ("maxbytes", config.local.max_memory.to_string()),
        ("maxitems", config.local.cache_size.to_string()),
        ("maxconns", limits.max_connections.to_string()),
        ("tcpport", config.local.node_port.to_string()),
        ("udpport", "0".into()),
        ("domain_socket", "NULL".into()),
        ("inter", config.local.node_address.clone()),
        ("verbosity", "0".into()),
        ("evictions", "on".into()),
        ("num_threads", "1".into()),
        ("cas_enabled", "yes".into()),
        ("flush_enabled", "yes".into()),
        ("binding_protocol", "auto-negotiate".into()),
        ("auth_enabled_ascii", if config.security.password.is_empty() { "no" } else { "yes" }.into()),
        ("auth_enabled_sasl", "no".into()),
        ("shutdown_command", "no".into()),
        ("item_size_max", limits.max_value.to_string()),
        ("max_line", limits.max_line.to_string()),
        ("request_timeout_ms", limits.request_timeout_ms.to_string()),
        ("idle_timeout", limits.idle_timeout_s.to_string()),
        ("journal_sync", format!("{:?}", config.journal.sync).to_lowercase()),
    ];
    lines.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// Reads the journal into the node, cuts a torn tail off, and lets cleaning begin.
fn durability(
    folder: Option<Folder>,
    segments: Vec<(SegmentName, u64)>,
    node: &mut Node,
    config: &Config,
    poll: &Poll,
    clock: &Clock,
) -> Result<Durability, String> {
    let Some(mut folder) = folder else { return Ok(Durability::none()) };
    if config.local.reconstruct {
        recover(&mut folder, Replay::new(segments), node, clock);
    } else {
        node.distrust_journal();
    }
    if config.journal.sync != Sync::No {
        folder.sync_segments().map_err(|error| format!("the journal that was found cannot be synced: {error}"))?;
    }
    node.open_cleaning();
    let waker = waker(poll).map_err(|error| format!("cannot make a waker: {error}"))?;
    let syncer = Syncer::start(waker).map_err(|error| format!("cannot start the thread that syncs: {error}"))?;
    Ok(Durability::new(folder, syncer, config.journal.sync))
}

fn recover(folder: &mut Folder, mut replay: Replay, node: &mut Node, clock: &Clock) {
    let began = Instant::now();
    let mut said = began;
    let mut now = clock.read();
    while matches!(replay.step(folder, REPLAY_A_STEP, &mut |record| node.on_record(now, record)), crate::caching::replay::Step::More) {
        now = clock.read();
        if said.elapsed().as_millis() >= PROGRESS_EVERY_MS {
            said = Instant::now();
            log_progress(&replay, began);
        }
    }
    log_damages(&replay);
    if replay.damages().iter().any(|(_, damage)| !damage.tail) {
        node.distrust_journal();
    }
    if let Some((segment, length)) = replay.torn_tail() {
        use crate::caching::journal::SegmentStore;
        match folder.truncate(segment, length) {
            Ok(()) => warn!("{}: the torn tail is cut off at {length}", segment.file_name()),
            Err(error) => warn!("{}: the torn tail cannot be cut off: {error}", segment.file_name()),
        }
    }
    if replay.progress().total > 0 {
        log_progress(&replay, began);
        info!("reconstructed {} keys", node.cache().len());
    }
}

fn log_progress(replay: &Replay, began: Instant) {
    let progress = replay.progress();
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    let megabytes_a_second = progress.bytes as f64 / 1e6 / seconds;
    info!("reading the journal: {} records, {megabytes_a_second:.0} MB/s, {} %", progress.records, progress.percent());
}
