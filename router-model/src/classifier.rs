//! The facade: one prompt in, one profile out.
//!
//! Invariants: every segment is scanned for sensitive data, whatever its role; whatever fails or is cut off
//! leaves a doubt; classification neither blocks nor panics. Complexity looks only at text and shape; what
//! the profile means for routing is the policy's word.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use local_runtime::{Classification, Pending};
use policies::{Doubt, Finding, Profile, Rung, Sensitivity};

use crate::artifact::Artifact;
use crate::complexity::{Assessment, ComplexityModel, RungConfig, View, encoder};
use crate::confidence::AnswerModel;
use crate::config::{ClassifierConfig, MEMO_TEXT_BYTES_MIN};
use crate::memo::Memo;
use crate::names::{AskedNames, FoundNames, Names, NamesArtifact, NamesConfig, NamesMode};
use crate::sensitivity::{self, Detector, LocalFinding, Scan};
use crate::{Error, Prompt, Role, Segment, tokens};

/// What finds sensitive data in one text. The detector of this crate is one; whatever else takes its place may fail in ways that
/// it does not, and the classifier must come through all of them with a doubt.
pub trait Scanner: Send + Sync {
    /// Scans the whole of a text.
    fn scan(&self, text: &str) -> Scan;
}

impl Scanner for Detector {
    fn scan(&self, text: &str) -> Scan {
        Self::scan(self, text)
    }
}

/// Turns prompts into profiles. Built once and shared; `classify` may run on any number of threads.
pub struct Classifier {
    config: ClassifierConfig,
    detector: Box<dyn Scanner>,
    model: ComplexityModel,
    answers: Arc<AnswerModel>,
    memo: Memo<Scan>,
    artifact: Artifact,
    rung: OnceLock<encoder::Rung>,
    names: OnceLock<Arc<Names>>,
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Classifier {
    /// Builds the detector and loads the weights: those of `artifact`, or those that are part of this build.
    ///
    /// # Errors
    /// When a setting is out of range, or when a pattern, the artifact or its weights do not load.
    pub fn new(config: ClassifierConfig) -> Result<Self, Error> {
        let detector = Detector::new(config.detector.clone())?;
        Self::with_scanner(config, Box::new(detector))
    }

    /// The same with another scanner in the detector's place.
    ///
    /// # Errors
    /// When a setting is out of range, or when the artifact or its weights do not load.
    pub fn with_scanner(config: ClassifierConfig, detector: Box<dyn Scanner>) -> Result<Self, Error> {
        config.validate()?;
        let artifact = config.artifact.as_deref().map_or_else(|| Ok(Artifact::embedded()), Artifact::read)?;
        let model = ComplexityModel::from_artifact(&artifact)?;
        let answers = Arc::new(AnswerModel::from_artifact(&artifact)?);
        let memo = Memo::new(config.memo_entries);
        Ok(Self {
            config,
            detector,
            model,
            answers,
            memo,
            artifact,
            rung: OnceLock::new(),
            names: OnceLock::new(),
        })
    }

    /// What it was built with.
    #[must_use]
    pub const fn config(&self) -> &ClassifierConfig {
        &self.config
    }

    /// Which trained artifact it uses: the beginning of a hash of its files.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.artifact.revision()
    }

    /// The model of the same artifact that says how sure a local answer is.
    #[must_use]
    pub const fn answers(&self) -> &Arc<AnswerModel> {
        &self.answers
    }

    /// Loads the artifact's encoder, whose files are put below `cache`. From then on [`Classifier::ask`] asks it. Blocks
    /// for about a second; a second call does nothing.
    ///
    /// # Errors
    /// [`Error::NoEncoder`], [`Error::Artifact`] and [`Error::Encoder`]; the features go on serving alone.
    pub fn load_encoder(&self, library: &Path, cache: &Path, config: &RungConfig) -> Result<(), Error> {
        if self.rung.get().is_none() {
            let rung = encoder::Rung::load(&self.artifact, library, cache, config)?;
            let _ = self.rung.set(rung);
        }
        Ok(())
    }

    /// Whether names are to be found and the model for it is not there.
    #[must_use]
    pub fn lacks_names(&self) -> bool {
        self.config.names == NamesMode::Required && self.names.get().is_none()
    }

    /// Whether the encoder can be asked.
    #[must_use]
    pub fn has_encoder(&self) -> bool {
        self.rung.get().is_some()
    }

    /// Loads the model that finds names, whose files are put below `cache`. From then on [`Classifier::ask_names`] asks it.
    /// Blocks for about a second; a second call does nothing.
    ///
    /// # Errors
    /// [`Error::Artifact`], [`Error::Weights`] and [`Error::Encoder`]; requests stay in doubt where the model is required.
    pub fn load_names(&self, library: &Path, cache: &Path, config: &NamesConfig) -> Result<(), Error> {
        if self.names.get().is_none() {
            let folder = self.config.names_artifact.as_deref();
            let artifact = folder.map_or_else(|| Ok(NamesArtifact::embedded()), NamesArtifact::read)?;
            let names = Names::load(&artifact, library, cache, config, self.config.memo_entries)?;
            let _ = self.names.set(Arc::new(names));
        }
        Ok(())
    }

    /// Uses the names model that another classifier has loaded, if it has one and this one has none.
    pub fn share_names(&self, of: &Self) {
        if let Some(names) = of.names.get() {
            let _ = self.names.set(Arc::clone(names));
        }
    }

    /// Which names model is loaded: the beginning of a hash of its files.
    #[must_use]
    pub fn names_revision(&self) -> Option<&str> {
        self.names.get().map(|names| names.revision())
    }

    /// Puts the texts of a prompt before the model that finds names, without waiting for it.
    #[must_use]
    pub fn ask_names(&self, prompt: &Prompt<'_>) -> AskedNames {
        let nothing = |known| AskedNames { known, unread: None };
        match (self.config.names, self.names.get()) {
            (NamesMode::Off, _) | (NamesMode::WhenAvailable, None) => nothing(FoundNames::default()),
            (NamesMode::Required, None) => nothing(FoundNames::doubtful(Doubt::ModelMissing)),
            (_, Some(names)) => names.ask(prompt, self.config.text_bytes_max),
        }
    }

    /// Finds names and puts them into a profile of the same prompt, waiting for the model on this thread.
    pub fn name(&self, prompt: &Prompt<'_>, profile: &mut Profile) {
        let AskedNames { known: mut found, unread } = self.ask_names(prompt);
        if let Some(unread) = unread {
            found.join(unread.wait().unwrap_or_else(|_| FoundNames::doubtful(Doubt::DetectorError)));
        }
        Self::add_names(profile, found);
    }

    /// Puts the names that were found into a profile of the same prompt.
    pub fn add_names(profile: &mut Profile, found: FoundNames) {
        let all = &mut profile.sensitivity;
        let named = found.segments.into_iter().filter(|(_, names)| !names.is_empty());
        let mut named: BTreeMap<usize, Arc<[LocalFinding]>> = named.collect();
        let mut findings = Vec::with_capacity(all.findings.len() + named.len());
        for own in all.findings.chunk_by(|one, other| one.segment == other.segment) {
            let segment = own[0].segment;
            match named.remove(&segment) {
                Some(names) => findings.extend(beside(segment, own, &names)),
                None => findings.extend_from_slice(own),
            }
        }
        findings.extend(named.into_iter().flat_map(|(segment, names)| beside(segment, &[], &names)));
        findings.sort_by_key(|finding| (finding.segment, finding.start));
        all.findings = findings;
        all.doubt.extend(found.doubt);
        all.doubt.sort_unstable();
        all.doubt.dedup();
    }

    /// What is in the prompt, by detectors and features alone: entities, topics, doubts, complexity, task, language and
    /// size.
    #[must_use]
    pub fn classify(&self, prompt: &Prompt<'_>) -> Profile {
        self.look(prompt).0
    }

    /// The same, with the view that the encoder can be asked about.
    #[must_use]
    pub fn look(&self, prompt: &Prompt<'_>) -> (Profile, View) {
        let view = self.model.view(prompt);
        let mut profile = Profile {
            sensitivity: self.sensitivity(prompt),
            complexity: 0.0,
            confidence: 0.0,
            task: policies::Task::Instruction,
            language: view.language.into(),
            input_tokens: tokens::of_prompt(prompt),
            output_tokens: 0,
            rung: Rung::Features,
        };
        put(&mut profile, self.model.weigh(&view));
        (profile, view)
    }

    /// What the features say of a prompt's difficulty, and nothing else.
    #[must_use]
    pub fn view(&self, prompt: &Prompt<'_>) -> View {
        self.model.view(prompt)
    }

    /// Whether the encoder is there and knows the language of a view.
    #[must_use]
    pub fn can_ask(&self, view: &View) -> bool {
        self.rung.get().is_some() && encoder::reads(view)
    }

    /// Asks the encoder about a view, without waiting. `None` when there is no encoder or it has nothing to add.
    pub fn ask(&self, view: &View) -> Option<Result<Pending<Vec<Classification>>, Error>> {
        self.rung.get()?.ask(view)
    }

    /// Puts the encoder's answer into the profile; an answer that does not fit counts as none.
    pub fn refine(&self, profile: &mut Profile, view: &View, said: &[Classification]) {
        match self.model.weigh_with(view, said) {
            Some(assessment) => {
                put(profile, assessment);
                profile.rung = Rung::Encoder;
            }
            None => profile.rung = Rung::Late,
        }
    }

    /// Everything, whatever the policy, waiting for the models on this thread: for work in batches.
    #[must_use]
    pub fn classify_fully(&self, prompt: &Prompt<'_>) -> Profile {
        let (mut profile, view) = self.look(prompt);
        self.name(prompt, &mut profile);
        match self.ask(&view).map(|asked| asked.and_then(|pending| pending.wait().map_err(Error::Encoder))) {
            None => {}
            Some(Ok(said)) => self.refine(&mut profile, &view, &said),
            Some(Err(_)) => profile.rung = Rung::Late,
        }
        profile
    }

    /// By how much the encoder may move the complexity that the features give; 0 without an encoder.
    #[must_use]
    pub fn encoder_reach(&self) -> f32 {
        if self.has_encoder() { self.model.encoder_reach() } else { 0.0 }
    }

    /// The hand-made features of the last turn, for training: counts and shares, no words. `None` without a word.
    #[must_use]
    pub fn dense_features(&self, prompt: &Prompt<'_>) -> Option<Vec<f32>> {
        self.model.dense_features(prompt)
    }

    /// The complexity that this classifier would give to a prompt of which only the features are left and the
    /// profile that `before` made of it; see [`ComplexityModel::complexity_after`].
    #[must_use]
    pub fn complexity_after(&self, before: &Self, features: &[f32], profile: &Profile) -> Option<f32> {
        self.model.complexity_after(&before.model, features, profile.complexity, profile.rung)
    }

    /// Findings of every segment, with the strongest score of each topic and every doubt once.
    fn sensitivity(&self, prompt: &Prompt<'_>) -> Sensitivity {
        let mut all = Sensitivity { doubt: prompt.doubt.clone(), ..Sensitivity::default() };
        let mut before: Option<(usize, &Segment<'_>)> = None;
        let (mut parts, mut message): (Vec<(usize, &str)>, Option<&str>) = (Vec::new(), None);
        let begun = Instant::now();
        for (index, segment) in prompt.segments.iter().enumerate() {
            if begun.elapsed() >= self.config.detection_deadline {
                all.doubt.push(Doubt::DetectorTimeout);
                break;
            }
            let text = clip(&segment.text, self.config.text_bytes_max);
            if text.len() < segment.text.len() {
                all.doubt.push(Doubt::TextTooLong);
            }
            let lead = before.map(|(_, before)| lead(before, segment)).unwrap_or_default();
            let scanned = if lead.is_empty() { self.scan(text) } else { self.scan(&format!("{lead}{text}")) };
            match scanned {
                Some(scan) => {
                    let lead = lead.chars().count();
                    merge(&mut all, index, &scan, lead);
                    if let Some((index, before)) = before.filter(|_| lead > 0) {
                        beginnings(&mut all, index, before, &scan, lead);
                    }
                }
                None => all.doubt.push(Doubt::DetectorError),
            }
            if segment.role != Role::Other {
                let its = message_of(segment);
                if its.is_none() || its != message {
                    parts.clear();
                    message = its;
                }
                if !parts.is_empty() {
                    self.scan_seam(&mut all, index, &parts, text);
                }
                parts.push((index, text));
                before = Some((index, segment));
            }
        }
        all.findings.sort_by_key(|found| (found.segment, found.start));
        all.doubt.sort_unstable();
        all.doubt.dedup();
        all
    }

    /// Parts of a message are words to one reader and one word to another, so a value that is cut into parts is looked for without
    /// gaps too. It is told of every part that it reaches into.
    fn scan_seam(&self, all: &mut Sensitivity, segment: usize, parts: &[(usize, &str)], text: &str) {
        let pieces = pieces(parts);
        let lead: String = pieces.iter().map(|piece| piece.text).collect();
        let lead_chars = lead.chars().count();
        let Some(scan) = self.guarded_scan(&format!("{lead}{}", head(text))) else {
            all.doubt.push(Doubt::DetectorError);
            return;
        };
        for found in scan.findings.iter().filter(|found| found.start < lead_chars && found.end > lead_chars) {
            let mut before = 0;
            for piece in &pieces {
                let chars = piece.text.chars().count();
                if found.start < before + chars {
                    let start = piece.from + found.start.saturating_sub(before);
                    add(all, piece.segment, start..piece.from + chars, found);
                }
                before += chars;
            }
            add(all, segment, 0..found.end - lead_chars, found);
        }
        all.doubt.extend_from_slice(&scan.doubt);
    }

    fn scan(&self, text: &str) -> Option<Arc<Scan>> {
        if text.len() < MEMO_TEXT_BYTES_MIN || self.config.memo_entries == 0 {
            return self.guarded_scan(text).map(Arc::new);
        }
        self.memo.get_or_scan(text, || self.guarded_scan(text))
    }

    /// A panic in the detector is our own bug, but it must not lose the request or, worse, its label.
    fn guarded_scan(&self, text: &str) -> Option<Scan> {
        catch_unwind(AssertUnwindSafe(|| self.detector.scan(text))).ok()
    }
}

fn put(profile: &mut Profile, assessment: Assessment) {
    profile.complexity = assessment.complexity;
    profile.confidence = assessment.confidence;
    profile.task = assessment.task;
    profile.output_tokens = assessment.output_tokens.round() as u32;
}

/// Characters of what was said before that are read again with what is said next.
const LEAD_CHARS: usize = 200;

/// The end of what was said before, as context for what is said next: a question asks for what the answer then
/// states ("your social security number?"), and a value may be split over two parts of one message.
fn lead(before: &Segment<'_>, segment: &Segment<'_>) -> String {
    if segment.role == Role::Other {
        return String::new();
    }
    let joint = if message_of(before) == message_of(segment) { ' ' } else { '\n' };
    let text = &before.text;
    let start = text.char_indices().rev().nth(LEAD_CHARS - 1).map_or(0, |(at, _)| at);
    format!("{}{joint}", &text[start..])
}

/// The message that a segment is part of; `None` outside of messages.
fn message_of<'a>(segment: &'a Segment<'_>) -> Option<&'a str> {
    segment.path.find(']').map(|end| &segment.path[..end])
}

/// The end of one part of a message.
struct Piece<'a> {
    segment: usize,
    /// Where in the part it begins, in characters.
    from: usize,
    text: &'a str,
}

/// The ends of the last parts of a message, together no longer than a lead, in order.
fn pieces<'a>(parts: &[(usize, &'a str)]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut wanted = LEAD_CHARS;
    for &(segment, part) in parts.iter().rev() {
        if wanted == 0 {
            break;
        }
        let start = part.char_indices().rev().nth(wanted - 1).map_or(0, |(at, _)| at);
        let text = &part[start..];
        wanted -= text.chars().count();
        pieces.push(Piece { segment, from: part[..start].chars().count(), text });
    }
    pieces.reverse();
    pieces
}

/// Adds a finding in a range of a segment, unless one of its kind covers that range already.
fn add(all: &mut Sensitivity, segment: usize, range: Range<usize>, found: &LocalFinding) {
    let covers = |one: &Finding| {
        one.segment == segment && one.kind == found.kind && one.start <= range.start && one.end >= range.end
    };
    if !range.is_empty() && !all.findings.iter().any(covers) {
        all.findings.push(Finding {
            segment,
            start: range.start,
            end: range.end,
            kind: found.kind,
            subtype: found.subtype.clone(),
            score: found.score,
            source: found.source,
        });
    }
}

/// Adds what was found behind the first `lead` characters to what is known of the whole prompt.
fn merge(all: &mut Sensitivity, segment: usize, scan: &Scan, lead: usize) {
    all.findings.extend(scan.findings.iter().filter(|found| found.end > lead).map(|found| Finding {
        segment,
        start: found.start.saturating_sub(lead),
        end: found.end - lead,
        kind: found.kind,
        subtype: found.subtype.clone(),
        score: found.score,
        source: found.source,
    }));
    for &(topic, score) in &scan.topics {
        let strongest = all.topics.entry(topic).or_insert(score);
        *strongest = strongest.max(score);
    }
    all.doubt.extend_from_slice(&scan.doubt);
}

/// The names in a segment beside what else was found there.
fn beside(segment: usize, own: &[Finding], names: &[LocalFinding]) -> Vec<Finding> {
    let local = |finding: &Finding| LocalFinding {
        start: finding.start,
        end: finding.end,
        kind: finding.kind,
        subtype: finding.subtype.clone(),
        score: finding.score,
        source: finding.source,
    };
    let united = sensitivity::united(own.iter().map(local).collect(), names);
    united.into_iter().map(|found| placed(segment, found)).collect()
}

fn placed(segment: usize, found: LocalFinding) -> Finding {
    Finding {
        segment,
        start: found.start,
        end: found.end,
        kind: found.kind,
        subtype: found.subtype,
        score: found.score,
        source: found.source,
    }
}

/// The part of a value that was split over two segments which lies in the first one, `lead` characters of which (and a
/// separator) were read in front of the second.
fn beginnings(all: &mut Sensitivity, segment: usize, before: &Segment<'_>, scan: &Scan, lead: usize) {
    let tail = lead - 1;
    for found in scan.findings.iter().filter(|found| found.start < tail && found.end > lead) {
        let end = before.text.chars().count();
        all.findings.push(Finding {
            segment,
            start: end - tail + found.start,
            end,
            kind: found.kind,
            subtype: found.subtype.clone(),
            score: found.score,
            source: found.source,
        });
    }
}

/// The beginning of a text, as long as a lead.
fn head(text: &str) -> &str {
    text.char_indices().nth(LEAD_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends between characters.
pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max { text } else { &text[..text.floor_char_boundary(bytes_max)] }
}
