//! Nothing above clearance leaves, whatever is sent, whatever the policy says and whatever fails.
//!
//! A *world* is a gateway with one policy between clients that send conversations with planted canaries and upstreams of
//! every clearance that capture each byte, a trace collector among them. Faults come and go while they talk. Afterwards every
//! capture is searched for every form of every canary, and so are the log, the ledger's files, the metrics and the
//! admin pages, where none may be. That the search can find something is shown by what may leave, and does, and by a gateway that
//! keeps nothing back.
//!
//! `LEAK_SEED` and `LEAK_CONVERSATIONS` (a world) make it another run and a longer one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use harness::client;
use harness::leak::{Canary, Conversation, DISGUISES, KINDS, PLACES, Place, Watch};
use harness::process::{self, Gateway};
use harness::upstream::{Behaviour, Upstream, closed_port};

/// Conversations of a world unless `LEAK_CONVERSATIONS` says otherwise.
const CONVERSATIONS: usize = 330;
/// The same with a model, which takes its time.
const CONVERSATIONS_WITH_MODEL: usize = 40;
/// Seed unless `LEAK_SEED` says otherwise.
const SEED: u64 = 0x5eed_1eaf;
/// Conversations at a time, and for how many the faults stay.
const BATCH: usize = 12;
/// Worlds that are played beside each other: they mostly wait for faults.
const WORLDS_AT_A_TIME: usize = 3;
/// Longest wait of a client.
const PATIENCE: Duration = Duration::from_secs(4);

const LABELS: [&str; 4] = ["public", "internal", "confidential", "restricted"];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn rank(label: &str) -> usize {
    LABELS.iter().position(|known| *known == label).unwrap()
}

/// What a policy says, read by this test and not by the gateway.
#[derive(Debug, Clone)]
struct Policy {
    name: String,
    text: String,
    /// Least label of a kind.
    kinds: BTreeMap<String, usize>,
    /// Highest label by place.
    caps: BTreeMap<String, usize>,
}

impl Policy {
    fn read(name: &str, text: String) -> Self {
        let table: toml::Table = text.parse().unwrap();
        let section = |name: &str| -> BTreeMap<String, usize> {
            let entries = table.get(name).and_then(toml::Value::as_table).into_iter().flatten();
            entries.map(|(key, label)| (key.clone(), rank(label.as_str().unwrap()))).collect()
        };
        Self { name: name.to_owned(), kinds: section("labels"), caps: section("clearance"), text }
    }

    fn preset(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../policies/presets/{name}.toml"));
        Self::read(name, std::fs::read_to_string(path).unwrap())
    }

    /// Any policy that does not only observe.
    fn random(number: usize, rng: &mut Rng) -> Self {
        let mut pick = |all: &[&str]| all[rng.usize(..all.len())].to_owned();
        let kinds: String = KINDS.iter().map(|kind| format!("{kind} = '{}'\n", pick(&LABELS))).collect();
        let mode = pick(&[
            "mode = 'cascade'\nescalate_below = 1.0",
            "mode = 'prefix'\nescalate_below = 1.0\nhold_tokens = 2",
            "mode = 'shadow'\nshadow_rate = 1.0",
            "mode = 'route'",
        ]);
        let text = format!(
            "name = 'random-{number}'\non_doubt = '{}'\nscore_min = 0.3\nnamed_models_locally = {}\n\
             fall_back = true\n[labels]\n{kinds}[actions]\ninternal = '{}'\nconfidential = '{}'\nrestricted = '{}'\n\
             [mask]\nstyle = '{}'\n\
             [clearance]\ncloud = '{}'\non-prem = '{}'\n\
             [[rule]]\nname = 'easy'\nwhen = 'profile.complexity < 0.4'\nroute = 'local'\n{mode}\n\
             [[rule]]\nname = 'rest'\nroute = '{}'\n",
            pick(&["confidential", "restricted"]),
            pick(&["true", "false"]),
            pick(&["keep-local", "mask"]),
            pick(&["keep-local", "mask", "refuse"]),
            pick(&["keep-local", "mask", "refuse"]),
            pick(&["placeholder", "surrogate"]),
            pick(&LABELS),
            pick(&LABELS),
            pick(&["cloud", "cheapest", "on-prem"]),
        );
        Self::read(&format!("random-{number}"), text)
    }

    fn label(&self, kind: &str) -> usize {
        self.kinds.get(kind).copied().unwrap_or(0)
    }
}

/// A place that captures, with what it may see.
struct Sink {
    name: &'static str,
    upstream: Upstream,
    clearance: usize,
    location: &'static str,
}

/// One gateway with everything around it.
struct World {
    policy: Policy,
    gateway: Gateway,
    sinks: Vec<Sink>,
    collector: Upstream,
    /// Holds the policy's file, which is read again on reload.
    _folder: tempfile::TempDir,
}

/// What came of a world.
struct Outcome {
    /// `sink: kind place disguise`.
    leaks: Vec<String>,
    /// Canaries that may leave and did.
    arrived: usize,
    answered: usize,
    refused: usize,
    /// An error of the gateway's or an upstream's, or no whole answer.
    failed: usize,
}

impl World {
    async fn start(policy: Policy, with_model: bool) -> Self {
        let mut sinks = Vec::new();
        for (name, clearance, location) in
            [("open", 0, "cloud"), ("cloud", 1, "cloud"), ("trusted", 2, "cloud"), ("house", 3, "on-prem")]
        {
            let upstream = Upstream::start().await;
            let clearance = policy.caps.get(location).map_or(clearance, |cap| clearance.min(*cap));
            sinks.push(Sink { name, upstream, clearance, location });
        }
        let collector = Upstream::start().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, &policy.text).unwrap();
        let mut config = format!(
            "[policy]\nfile = '{}'\n[telemetry]\notlp_endpoint = 'http://{}'\n\
             [detection]\nnames = 'off'\n[router]\nencoder = false\n",
            file.display(),
            collector.address
        );
        let own = ["public", "internal", "confidential", "restricted"];
        for (sink, clearance) in sinks.iter().zip(own) {
            config += &upstream(sink.name, &sink.upstream.address.to_string(), clearance, sink.location);
        }
        // A cloud that is down, and would be preferred.
        config += &upstream("gone", &closed_port().await.to_string(), "restricted", "cloud");
        let gateway = if with_model {
            Gateway::with_model_in_and(&config, "max_queue = 1\n").await
        } else {
            Gateway::without_model(&config).await
        };
        Self { policy, gateway, sinks, collector, _folder: folder }
    }

    /// Lets everybody talk while things break, and looks at what got out.
    async fn play(mut self, conversations: &[Conversation], rng: &mut Rng) -> Outcome {
        let (mut answered, mut refused, mut failed) = (0, 0, 0);
        for batch in conversations.chunks(BATCH) {
            let lock = self.disturb(rng);
            let mut talks = tokio::task::JoinSet::new();
            for conversation in batch {
                let (address, turns) = (self.gateway.data, conversation.turns.clone());
                talks.spawn(async move {
                    let mut statuses = Vec::new();
                    for turn in turns {
                        let headers: Vec<_> = turn.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
                        let reply =
                            client::attempt(address, turn.path, &headers, turn.body.clone(), PATIENCE).await;
                        statuses.push(reply.map(|reply| reply.status));
                    }
                    statuses
                });
            }
            for status in talks.join_all().await.into_iter().flatten() {
                match status {
                    Some(status) if status.is_success() => answered += 1,
                    Some(status) if status.is_client_error() => refused += 1,
                    _ => failed += 1,
                }
            }
            drop(lock);
        }
        let leaks = self.search(conversations).await;
        let arrived = self.arrived(conversations);
        Outcome { leaks, arrived, answered, refused, failed }
    }

    /// Breaks something, or lets everything be well.
    fn disturb(&self, rng: &mut Rng) -> Option<rusqlite::Connection> {
        const FAULTS: [Behaviour; 7] = [
            Behaviour::Status(500),
            Behaviour::Status(429),
            Behaviour::Reset,
            Behaviour::BreakOff,
            Behaviour::Silent,
            Behaviour::Stalls,
            Behaviour::Garbled,
        ];
        for sink in &self.sinks {
            let fault = FAULTS[rng.usize(..FAULTS.len())];
            sink.upstream.behave(if rng.u8(..3) == 0 { fault } else { Behaviour::Well });
        }
        if rng.u8(..4) == 0 {
            self.gateway.hang_up();
        }
        (rng.u8(..8) == 0).then(|| {
            let ledger = rusqlite::Connection::open(self.gateway.directory().join("sluicegate.db")).unwrap();
            ledger.busy_timeout(Duration::from_secs(2)).unwrap();
            // Where the gateway is writing at this moment it keeps the lock, which does as well.
            let _ = ledger.execute_batch("BEGIN EXCLUSIVE");
            ledger
        })
    }

    /// Everything that was found where it may not be.
    async fn search(&mut self, conversations: &[Conversation]) -> Vec<String> {
        let watch = Watch::over(conversations);
        let mut leaks = Vec::new();
        let mut look = |sink: &str, bytes: &[u8], clearance: Option<usize>| {
            for found in watch.find(bytes) {
                let label = self.policy.label(found.planted.kind);
                let (kind, place, disguise) =
                    (found.planted.kind, found.planted.place, found.planted.disguise);
                // A model's name is written down; one that holds more than the policy calls public is refused.
                let may_be_written = place == Place::Model && label == 0;
                if clearance.map_or(!may_be_written, |clearance| label > clearance) {
                    leaks.push(format!("{}: {sink}: {kind} in {place:?} as {disguise:?}", self.policy.name));
                }
            }
        };
        for sink in &self.sinks {
            look(sink.name, &sink.upstream.captured(), Some(sink.clearance));
        }
        for page in ["/metrics", "/admin/v1/drift", "/admin/v1/spend", "/admin/v1/models", "/admin/v1/prices"]
        {
            look(page, &client::get(self.gateway.admin, page).await.body, None);
        }
        self.gateway.stop();
        look("trace collector", &self.collector.captured(), None);
        look("log", self.gateway.log().as_bytes(), None);
        for entry in std::fs::read_dir(self.gateway.directory()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                look(&path.file_name().unwrap().to_string_lossy(), &std::fs::read(&path).unwrap(), None);
            }
        }
        leaks
    }

    /// Canaries that were found where they may be.
    fn arrived(&self, conversations: &[Conversation]) -> usize {
        let watch = Watch::over(conversations);
        let seen = |sink: &Sink| {
            let found = watch.find(&sink.upstream.captured());
            found.iter().filter(|found| self.policy.label(found.planted.kind) <= sink.clearance).count()
        };
        self.sinks.iter().map(seen).sum()
    }
}

fn upstream(name: &str, address: &str, clearance: &str, location: &str) -> String {
    format!(
        "[[upstream]]\nname = '{name}'\nprotocol = 'openai'\nbase_url = 'http://{address}/v1'\n\
         clearance = '{clearance}'\nlocation = '{location}'\nconnect_timeout_s = 1\nresponse_timeout_s = 1\n\
         idle_timeout_s = 1\n[[upstream.models]]\nname = 'gpt-4o'\nstrength = 1.0\n\
         [[upstream.models]]\nname = 'text-embedding-3-small'\nstrength = 1.0\n"
    )
}

fn conversations(count: usize, rng: &mut Rng) -> Vec<Conversation> {
    (0..count).map(|number| Conversation::new(number, rng)).collect()
}

/// Plays a policy and demands that nothing leaked.
async fn hold(policy: Policy, count: usize, with_model: bool, seed: u64) -> Outcome {
    let mut rng = Rng::with_seed(seed);
    let talk = conversations(count, &mut rng);
    let name = policy.name.clone();
    let outcome = World::start(policy, with_model).await.play(&talk, &mut rng).await;
    assert!(
        outcome.leaks.is_empty(),
        "seed {seed}: {} leaks of {count} conversations under {name}:\n{}",
        outcome.leaks.len(),
        outcome.leaks.join("\n")
    );
    outcome
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_canary_leaves_above_its_clearance() {
    let seed = setting("LEAK_SEED", SEED);
    let count = setting("LEAK_CONVERSATIONS", CONVERSATIONS as u64) as usize;
    let mut rng = Rng::with_seed(seed);
    let presets = ["balanced", "cost-saver", "strict-privacy", "hipaa", "pci", "gdpr"].map(Policy::preset);
    let random = (0..3).map(|number| Policy::random(number, &mut rng));
    let policies: Vec<_> = presets.into_iter().chain(random.collect::<Vec<_>>()).collect();
    let worlds = policies.len();
    let (mut arrived, mut answered, mut refused, mut failed) = (0, 0, 0, 0);
    let local = tokio::task::LocalSet::new();
    let mut numbered: Vec<_> = (0..).zip(policies).collect();
    while !numbered.is_empty() {
        let some = numbered.drain(..numbered.len().min(WORLDS_AT_A_TIME));
        let mut playing = tokio::task::JoinSet::new();
        for (number, policy) in some {
            playing.spawn_local_on(hold(policy, count, false, seed.wrapping_add(number)), &local);
        }
        for outcome in local.run_until(playing.join_all()).await {
            arrived += outcome.arrived;
            answered += outcome.answered;
            refused += outcome.refused;
            failed += outcome.failed;
        }
    }
    // Not vacuous: much was let through, much was kept, and faults were felt.
    assert!(arrived >= worlds * count / 50, "only {arrived} canaries arrived where they may");
    assert!(answered >= worlds * count / 20, "only {answered} answers");
    assert!(refused >= worlds * count / 10, "only {refused} refusals");
    assert!(failed >= worlds * count / 50, "only {failed} failures");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_canary_leaves_through_the_local_models_modes() {
    let seed = setting("LEAK_SEED", SEED);
    let count = setting("LEAK_CONVERSATIONS", CONVERSATIONS_WITH_MODEL as u64) as usize;
    for mode in [
        "mode = 'cascade'\nescalate_below = 1.0",
        "mode = 'prefix'\nescalate_below = 1.0\nhold_tokens = 2",
        "mode = 'shadow'\nshadow_rate = 1.0",
    ] {
        let labels = Policy::preset("balanced");
        let (_, labels) = labels.text.split_once("[labels]").unwrap();
        let (labels, _) = labels.split_once("[[rule]]").unwrap();
        let text = format!(
            "name = 'modes'\nnamed_models_locally = true\n[labels]{labels}\
             [[rule]]\nname = 'all'\nroute = 'local'\n{mode}\n"
        );
        let outcome = hold(Policy::read(mode, text), count, true, seed).await;
        assert!(outcome.arrived > 0 && outcome.answered >= count / 5, "{mode}: nothing was served");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_search_finds_what_a_gateway_lets_out_that_keeps_nothing_back() {
    let mut rng = Rng::with_seed(SEED);
    let talk = conversations(120, &mut rng);
    let mut policy = Policy::preset("observe");
    policy.kinds = Policy::preset("balanced").kinds;
    let world = World::start(policy, false).await;
    for sink in &world.sinks {
        sink.upstream.behave(Behaviour::Well);
    }
    let outcome = world.play(&talk, &mut rng).await;
    let leaks = outcome.leaks.len();
    assert!(leaks >= 20, "only {leaks} leaks were found of a gateway that keeps nothing back");
    let elsewhere = outcome
        .leaks
        .iter()
        .find(|leak| !["open:", "cloud:", "trusted:"].iter().any(|sink| leak.contains(sink)));
    assert_eq!(elsewhere, None, "not even an observer writes values down");
}

#[test]
fn the_watch_finds_every_form() {
    let mut rng = Rng::with_seed(SEED);
    for (number, place) in PLACES.iter().enumerate() {
        for disguise in DISGUISES {
            let one = Conversation::with(number, *place, "EMAIL", *disguise, &mut rng);
            let watch = Watch::over([&one]);
            let turn = &one.turns[0];
            let sent = turn.headers.iter().map(|(_, value)| value.as_str()).chain([turn.body.as_str()]);
            let sent = sent.collect::<Vec<_>>().join("\n");
            assert_eq!(watch.find(sent.as_bytes()).len(), 1, "{place:?} {disguise:?}: {sent}");
            assert!(watch.find(b"What is the boiling point of water?").is_empty());
        }
    }
}

/// Where this fails the leak test cannot hold: the detector misses a kind in a disguise.
#[test]
fn every_kind_is_found_in_every_disguise() {
    let mut rng = Rng::with_seed(SEED);
    let mut lines = String::new();
    let mut asked = Vec::new();
    for kind in KINDS {
        for disguise in DISGUISES {
            for _ in 0..6 {
                let canary = Canary::new(kind, &mut rng);
                let text = disguise.apply(canary.before, &canary.value);
                let line = serde_json::json!({"id": asked.len().to_string(), "text": text});
                lines += &format!("{line}\n");
                asked.push((*kind, *disguise, text));
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    std::fs::write(
        &config,
        "[detection]\nnames = 'off'\n[router]\nencoder = false\n[local]\nenabled = false\n",
    )
    .unwrap();
    let output = process::run(&["classify", "--jsonl", "--config", "c.toml"], folder.path(), &lines);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let least = Policy::preset("balanced").kinds;
    let mut missed: BTreeMap<String, usize> = BTreeMap::new();
    let answers = String::from_utf8(output.stdout).unwrap();
    for ((kind, disguise, text), line) in asked.iter().zip(answers.lines()) {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        if rank(answer["label"].as_str().unwrap()) < least[*kind] {
            *missed.entry(format!("{kind} as {disguise:?}, such as {text}")).or_default() += 1;
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
