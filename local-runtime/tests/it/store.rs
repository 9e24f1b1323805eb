//! Fetching, verifying, resuming, and sharing, with a fetcher that serves the committed fixtures.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use local_runtime::{
    CatalogueEntry, Error, Fetcher, NoProgress, Operators, Progress, Purpose, Result, Source, Store, Wheel,
};
use sha2::{Digest, Sha256};

const MEMBER: &str = "data/part.bin";

fn fixture() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny-llama.gguf");
    std::fs::read(path).expect("the fixture is committed")
}

fn digest(bytes: &[u8]) -> &'static str {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().leak()
}

fn wheel_bytes(part: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    archive.start_file(MEMBER, zip::write::SimpleFileOptions::default()).expect("starts");
    archive.write_all(part).expect("written");
    archive.finish().expect("finished").into_inner()
}

/// Serves wheels by name, and one address.
#[derive(Default)]
struct FakeFetcher {
    wheels: Vec<(&'static str, Vec<u8>)>,
    file: Vec<u8>,
    /// Requests after this many fail.
    allowed: Option<usize>,
    calls: AtomicUsize,
    resumed_from: Mutex<Vec<u64>>,
}

impl FakeFetcher {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn failing(what: &str) -> Error {
        Error::Fetch {
            what: what.to_owned(),
            reason: "the network is gone".to_owned(),
            command: String::new(),
        }
    }
}

impl Fetcher for FakeFetcher {
    fn wheel(&self, wheel: &Wheel, dest_dir: &Path) -> Result<PathBuf> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.allowed.is_some_and(|allowed| call >= allowed) {
            return Err(Self::failing(wheel.distribution));
        }
        let (name, bytes) =
            self.wheels.iter().find(|(name, _)| *name == wheel.distribution).expect("a known wheel");
        let path = dest_dir.join(format!("{name}.whl"));
        std::fs::write(&path, bytes).expect("written");
        Ok(path)
    }

    fn url(&self, url: &str, part: &Path, _progress: &dyn Progress) -> Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut file = OpenOptions::new().create(true).append(true).open(part).expect("opens");
        let have = file.metadata().expect("metadata").len();
        self.resumed_from.lock().expect("no panic").push(have);
        let rest = &self.file[have as usize..];
        if self.allowed.is_some_and(|allowed| call >= allowed) {
            file.write_all(&rest[..rest.len() / 2]).expect("written");
            return Err(Self::failing(url));
        }
        file.write_all(rest).expect("written");
        Ok(())
    }
}

fn entry(gguf: &[u8], sources: Vec<Source>) -> CatalogueEntry {
    CatalogueEntry {
        name: "tiny",
        title: "Tiny",
        family: "llama",
        licence: "Apache-2.0",
        parameters: 1,
        gguf_bytes: gguf.len() as u64,
        gguf_sha256: digest(gguf),
        installed_bytes: 1,
        sources: sources.leak(),
        purpose: Purpose::Trials,
    }
}

/// The fixture as three wheels, and a fetcher that has them.
fn in_wheels() -> (CatalogueEntry, FakeFetcher) {
    let gguf = fixture();
    let names = ["part-1", "part-2", "part-3"];
    let parts: Vec<_> = gguf.chunks(gguf.len().div_ceil(3)).map(wheel_bytes).collect();
    let wheels = names.iter().zip(&parts).map(|(name, bytes)| Wheel {
        distribution: name,
        version: "1.0",
        sha256: digest(bytes),
        member: MEMBER,
        tags: None,
    });
    let wheels: &'static [Wheel] = wheels.collect::<Vec<_>>().leak();
    let fetcher = FakeFetcher { wheels: names.into_iter().zip(parts).collect(), ..FakeFetcher::default() };
    (entry(&gguf, vec![Source::PyPiWheels { wheels }]), fetcher)
}

fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path());
    (directory, store)
}

#[test]
fn wheels_are_assembled_converted_and_cleaned_up() {
    let ((entry, fetcher), (_directory, store)) = (in_wheels(), store());
    let model = store.ensure_entry(&entry, &fetcher, &NoProgress, false).expect("installs");
    let manifest = model.manifest.as_ref().expect("a manifest");
    assert_eq!((manifest.name.as_str(), manifest.family.as_str()), ("tiny", "llama"));
    assert_eq!(manifest.source_sha256, entry.gguf_sha256);
    assert_eq!(fetcher.calls(), 3);
    assert!(!store.root().join("downloads/tiny").exists());
    assert_eq!(store.models(), std::slice::from_ref(&model));
    assert_eq!(store.locate("tiny"), Some(model.clone()));
    assert_eq!(store.locate(&model.path.display().to_string()), Some(model));
    store.ensure_entry(&entry, &fetcher, &NoProgress, true).expect("is there, so offline works");
    assert_eq!(fetcher.calls(), 3);
}

#[test]
fn the_source_file_is_handed_out_verified_and_never_written_over() {
    let (entry, fetcher) = in_wheels();
    let (directory, store) = store();
    let out = directory.path().join("out.gguf");
    let offline = store.fetch_gguf(&entry, &out, &fetcher, &NoProgress, true).expect_err("nothing is there");
    assert!(offline.to_string().contains("--gguf"), "{offline}");
    store.fetch_gguf(&entry, &out, &fetcher, &NoProgress, false).expect("fetched");
    assert_eq!(std::fs::read(&out).expect("is there"), fixture());
    assert!(store.models().is_empty(), "nothing is installed");
    assert!(!store.root().join("downloads").join(entry.name).exists());
    let again = store.fetch_gguf(&entry, &out, &fetcher, &NoProgress, false);
    assert!(matches!(again, Err(Error::InvalidRequest { .. })), "{again:?}");
}

#[test]
fn two_at_once_fetch_once() {
    let ((entry, fetcher), (_directory, store)) = (in_wheels(), store());
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| store.ensure_entry(&entry, &fetcher, &NoProgress, false).expect("installs"))
            })
            .collect();
        callers.into_iter().for_each(|caller| drop(caller.join().expect("no panic")));
    });
    assert_eq!(fetcher.calls(), 3);
}

#[test]
fn an_interrupted_fetch_keeps_whole_wheels() {
    let ((entry, mut fetcher), (_directory, store)) = (in_wheels(), store());
    fetcher.allowed = Some(2);
    let error = store.ensure_entry(&entry, &fetcher, &NoProgress, false).expect_err("the third wheel fails");
    assert!(matches!(error, Error::Fetch { .. }), "{error}");
    assert!(store.models().is_empty());
    fetcher.allowed = None;
    store.ensure_entry(&entry, &fetcher, &NoProgress, false).expect("goes on");
    assert_eq!(fetcher.calls(), 4, "the first two wheels were kept");
}

#[test]
fn an_interrupted_address_goes_on_where_it_stopped() {
    let (gguf, (_directory, store)) = (fixture(), store());
    let entry = entry(&gguf, vec![Source::Url { url: "https://models.invalid/tiny.gguf" }]);
    let mut fetcher = FakeFetcher { file: gguf.clone(), allowed: Some(0), ..FakeFetcher::default() };
    store.ensure_entry(&entry, &fetcher, &NoProgress, false).expect_err("the network goes");
    fetcher.allowed = None;
    store.ensure_entry(&entry, &fetcher, &NoProgress, false).expect("goes on");
    assert_eq!(*fetcher.resumed_from.lock().expect("no panic"), [0, gguf.len() as u64 / 2]);
}

#[test]
fn the_second_source_is_used_when_the_first_fails() {
    let ((wheels, mut fetcher), (_directory, store)) = (in_wheels(), store());
    let url = Source::Url { url: "https://models.invalid/tiny.gguf" };
    let entry = entry(&fixture(), vec![wheels.sources[0], url]);
    fetcher.wheels[1].1[40] ^= 1;
    fetcher.file = fixture();
    store.ensure_entry(&entry, &fetcher, &NoProgress, false).expect("the address works");
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let ((wheels, mut fetcher), (_directory, store)) = (in_wheels(), store());
    fetcher.wheels[2].1[40] ^= 1;
    let error = store.ensure_entry(&wheels, &fetcher, &NoProgress, false).expect_err("a wheel is corrupt");
    assert!(matches!(&error, Error::HashMismatch { what, .. } if what.contains("part-3")), "{error}");

    // Right wheels, but what they add up to is not what was pinned.
    let (whole, fetcher) = in_wheels();
    let other = CatalogueEntry { gguf_sha256: digest(b"something else"), ..whole };
    let error =
        store.ensure_entry(&other, &fetcher, &NoProgress, false).expect_err("the file is not the pinned one");
    assert!(
        matches!(&error, Error::HashMismatch { expected, .. } if expected == other.gguf_sha256),
        "{error}"
    );
    let url = entry(&fixture(), vec![Source::Url { url: "https://models.invalid/tiny.gguf" }]);
    let fetcher = FakeFetcher { file: vec![7; 1000], ..FakeFetcher::default() };
    let error = store.ensure_entry(&url, &fetcher, &NoProgress, false).expect_err("the file is another");
    assert!(matches!(error, Error::HashMismatch { .. }), "{error}");
    assert!(!store.root().join("downloads/tiny/download.part").exists(), "a wrong file must not be resumed");
    assert!(store.models().is_empty());
}

#[test]
fn offline_says_what_is_missing_and_how_to_get_it() {
    let ((_, fetcher), (_directory, store)) = (in_wheels(), store());
    let error = store
        .ensure_model("smollm2-135m-instruct", &fetcher, &NoProgress, true)
        .expect_err("nothing is there");
    let message = error.to_string();
    assert!(message.contains("sluicegate models pull smollm2-135m-instruct"), "{message}");
    assert!(message.contains(&store.root().join("models").display().to_string()), "{message}");
    let error = store.ensure_model("no-such-model", &fetcher, &NoProgress, false).expect_err("unknown");
    assert!(error.to_string().contains("qwen2.5-coder-1.5b-instruct"), "{error}");
    assert_eq!(fetcher.calls(), 0);
}

#[test]
fn a_configured_library_must_exist() {
    let (_directory, store) = store();
    let error =
        store.find_onnx_runtime(Some(Path::new("no/such/library.so"))).expect_err("it does not exist");
    assert!(matches!(error, Error::LibraryUnusable { .. }), "{error}");
}

#[test]
fn names_cannot_leave_the_store() {
    let (directory, store) = store();
    let gguf = directory.path().join("x.gguf");
    File::create(&gguf).and_then(|mut file| file.write_all(&fixture())).expect("written");
    for name in ["../x", "a/b", "", ".hidden", "a b"] {
        assert!(
            matches!(
                store.convert(&gguf, name, Operators::Fastest, &NoProgress),
                Err(Error::InvalidRequest { .. })
            ),
            "{name}"
        );
    }
    assert_eq!(
        store.convert(&gguf, "my-Model_1.0", Operators::Fastest, &NoProgress).expect("a good name").name(),
        "my-Model_1.0"
    );
}

#[test]
fn the_catalogue_is_consistent() {
    for entry in local_runtime::catalogue() {
        assert_eq!(local_runtime::find(entry.name), Some(entry));
        assert_eq!(entry.gguf_sha256.len(), 64);
        assert!(!entry.licence.is_empty() && !entry.sources.is_empty());
        for source in entry.sources {
            if let Source::PyPiWheels { wheels } = source {
                assert!(wheels.iter().all(|wheel| wheel.sha256.len() == 64 && wheel.member.contains('/')));
            }
        }
    }
    assert!(local_runtime::find(local_runtime::DEFAULT_MODEL).is_some());
}
